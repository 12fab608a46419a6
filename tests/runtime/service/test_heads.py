"""Every head in every dialect, compared with the same model in process."""

import base64
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from tests.support.service import Service, serving

import lanner
from lanner.artifact.artifact import Artifact

QUERY = "a man is playing a guitar"
TEXTS = ["someone plays a string instrument", "the train leaves at seven", "a man"]
LONG = "how do i reset my password ? " * 8


@pytest.fixture(scope="module")
def artifacts(
    tiny_artifact: Artifact,
    scorer_artifact: Artifact,
    classifier_artifact: Artifact,
    tagger_artifact: Artifact,
) -> dict[str, Artifact]:
    return {
        "tiny": tiny_artifact,
        "scorer": scorer_artifact,
        "classifier": classifier_artifact,
        "tagger": tagger_artifact,
    }


@pytest.fixture(scope="module")
def service(artifacts: dict[str, Artifact]) -> Iterator[Service]:
    with serving({name: one.directory for name, one in artifacts.items()}) as running:
        yield running


def answered(service: Service, path: str, content: object) -> Any:
    answer = service.post(path, content)
    assert answer.status == 200, answer.body
    return answer.json


def refused(service: Service, path: str, content: object) -> tuple[int, Any]:
    answer = service.post(path, content)
    return answer.status, answer.json


def vectors(artifacts: dict[str, Artifact], texts: list[str], **options: Any) -> Any:
    return lanner.load(artifacts["tiny"].directory, threads=2).encode(texts, **options)


def test_tei_embeds(service: Service, artifacts: dict[str, Artifact]) -> None:
    expected = vectors(artifacts, TEXTS, normalize_embeddings=True)
    np.testing.assert_allclose(answered(service, "/embed", {"inputs": TEXTS}), expected, atol=1e-5)
    (found,) = answered(service, "/", {"inputs": TEXTS[0]})
    np.testing.assert_allclose(found, expected[0], atol=1e-5)
    (found,) = answered(service, "/models/tiny", {"inputs": TEXTS[0], "dimensions": 4})
    cut = vectors(artifacts, TEXTS[:1], truncate_dim=4, normalize_embeddings=True)
    np.testing.assert_allclose(found, cut[0], atol=1e-5)
    (found,) = answered(service, "/embed", {"inputs": "a man", "normalize": False})
    np.testing.assert_allclose(found, vectors(artifacts, ["a man"])[0], atol=1e-5)


def test_tei_reads_ids_of_the_models_own_vocabulary(service: Service) -> None:
    (tokens,) = answered(service, "/tokenize", {"inputs": "a man", "model": "tiny"})
    ids = [token["id"] for token in tokens]
    of_ids = answered(service, "/embed", {"inputs": ids})
    assert of_ids == answered(service, "/embed", {"inputs": ["a man"]})
    assert answered(service, "/embed", {"inputs": [ids, "a man"]}) == of_ids * 2
    assert answered(service, "/decode", {"ids": ids, "model": "tiny"}) == ["a man"]
    status, said = refused(service, "/embed", {"inputs": [100_000]})
    assert (status, said["error_type"]) == (422, "Validation")
    assert "a token id is not of the vocabulary" in said["error"]


def test_tei_tells_the_characters_of_tokens(service: Service) -> None:
    (tokens,) = answered(service, "/tokenize", {"inputs": "a man"})
    assert [token["special"] for token in tokens] == [True, False, False, True]
    assert [(t["text"], t["start"], t["stop"]) for t in tokens[1:3]] == [("a", 0, 1), ("man", 2, 5)]
    assert (tokens[0]["text"], tokens[0]["start"]) == ("[CLS]", None)
    (bare,) = answered(service, "/tokenize", {"inputs": "a man", "add_special_tokens": False})
    assert bare == tokens[1:3]


def test_tei_says_how_long_it_took_and_what_was_cut(service: Service) -> None:
    answer = service.post("/embed", {"inputs": ["a", LONG]})
    assert answer.headers["x-lanner-truncated"] == "1"
    names = ("x-compute-time", "x-total-time", "x-tokenization-time", "x-inference-time")
    assert all(answer.headers[name].isdigit() for name in names)
    assert answer.headers["x-compute-tokens"] == str(3 + 16)
    status, said = refused(service, "/embed", {"inputs": ["a", LONG], "truncate": False})
    assert (status, said["error_type"]) == (422, "Validation")
    assert "the text at index 1 has " in said["error"]


def test_tei_compares_sentences(service: Service, artifacts: dict[str, Artifact]) -> None:
    content = {"inputs": {"source_sentence": QUERY, "sentences": TEXTS}}
    first, *others = vectors(artifacts, [QUERY, *TEXTS], normalize_embeddings=True)
    for path in ("/similarity", "/", "/models/tiny"):
        np.testing.assert_allclose(answered(service, path, content), others @ first, atol=1e-5)


def test_tei_ranks(service: Service, artifacts: dict[str, Artifact]) -> None:
    scorer = lanner.load(artifacts["scorer"].directory, threads=2)
    expected = scorer.rank(QUERY, TEXTS)
    content = {"query": QUERY, "texts": TEXTS, "return_text": True}
    for path in ("/rerank", "/models/scorer", "/models/scorer/rerank"):
        found = answered(service, path, content)
        assert [one["index"] for one in found] == [one["corpus_id"] for one in expected]
        assert [one["text"] for one in found] == [one["text"] for one in expected]
        scores = [one["score"] for one in expected]
        np.testing.assert_allclose([one["score"] for one in found], scores, atol=1e-5)
    raw = answered(service, "/rerank", {"query": QUERY, "texts": TEXTS, "raw_scores": True})
    by_index = sorted(raw, key=lambda one: one["index"])
    logits = scorer.logits([(QUERY, text) for text in TEXTS])[:, 0]
    np.testing.assert_allclose([one["score"] for one in by_index], logits, atol=1e-5)


def test_tei_predicts_texts_pairs_and_batches(
    service: Service, artifacts: dict[str, Artifact]
) -> None:
    model = lanner.load(artifacts["classifier"].directory, threads=2)

    def expected(item: Any) -> list[dict[str, Any]]:
        (one,) = model.classify([item])
        return [
            {"label": label, "score": pytest.approx(score, abs=1e-5)}
            for label, score in one.scores.items()
        ]

    assert answered(service, "/predict", {"inputs": "a man"}) == expected("a man")
    # Two texts are one pair, and a batch is a list of lists.
    assert answered(service, "/predict", {"inputs": ["a man", "b"]}) == expected(("a man", "b"))
    batch = [["a man"], ["a man", "b"]]
    found = answered(service, "/predict", {"inputs": batch})
    assert found == [expected("a man"), expected(("a man", "b"))]
    wrongs: list[Any] = [["a", "b", "c"], [["a", "b", "c"]], [[]], ["a", ["b"]]]
    for wrong in wrongs:
        assert refused(service, "/predict", {"inputs": wrong})[0] == 422
    assert refused(service, "/predict", {"inputs": []})[1]["error_type"] == "Empty"


def test_entities_have_the_shape_of_a_pipeline(
    service: Service, artifacts: dict[str, Artifact]
) -> None:
    expected = lanner.load(artifacts["tagger"].directory, threads=2).tag(QUERY)
    assert expected
    for path in ("/tag", "/models/tagger"):
        found = answered(service, path, {"inputs": QUERY})
        assert found == [
            {
                "entity_group": one.label,
                "score": pytest.approx(one.score, abs=1e-5),
                "word": one.text,
                "start": one.start,
                "end": one.end,
            }
            for one in expected
        ]
    parameters = {"ignore_labels": ["PER"]}
    some = answered(service, "/tag", {"inputs": [QUERY, ""], "parameters": parameters})
    assert [one["entity_group"] for one in some[0]] == [
        one.label for one in expected if one.label != "PER"
    ]
    assert some[1] == []


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/embed_all", {"inputs": "a"}),
        ("/embed_sparse", {"inputs": "a"}),
        ("/embed", {"inputs": "a", "model": "scorer"}),
        ("/rerank", {"query": "a", "texts": ["b"], "model": "tiny"}),
    ],
)
def test_a_head_that_the_model_has_not_is_424_of_tei(
    service: Service, path: str, content: object
) -> None:
    status, said = refused(service, path, content)
    assert (status, said["error_type"]) == (424, "Backend")


def test_tei_describes_each_model(service: Service) -> None:
    found = service.get("/info").json
    assert (found["model_id"], found["max_input_length"]) == ("tiny", 16)
    assert set(found["model_type"]) == {"embedding"}
    assert service.get("/models/scorer/info").json["model_type"]["reranker"]["id2label"]
    labels = service.get("/models/classifier/info").json["model_type"]["classifier"]["id2label"]
    assert labels == {"0": "x", "1": "y", "2": "z"}


def test_cohere_embeds_in_every_type(service: Service, artifacts: dict[str, Artifact]) -> None:
    types = ["float", "int8", "uint8", "binary", "ubinary", "base64"]
    found = answered(
        service,
        "/v2/embed",
        {"model": "tiny", "texts": TEXTS, "embedding_types": types, "truncate": None},
    )["embeddings"]
    assert list(found) == types
    np.testing.assert_allclose(found["float"], vectors(artifacts, TEXTS), atol=1e-5)
    for name in ("int8", "uint8", "binary", "ubinary"):
        expected = vectors(artifacts, TEXTS, precision=name, normalize_embeddings=True)
        np.testing.assert_allclose(found[name], expected, atol=1)
    raw = np.frombuffer(base64.b64decode(found["base64"][0]), "<f4")
    np.testing.assert_array_equal(raw, np.array(found["float"][0], np.float32))


def test_cohere_s_first_version_gives_a_list(service: Service) -> None:
    found = answered(service, "/v1/embed", {"model": "tiny", "texts": TEXTS})
    assert found["response_type"] == "embeddings_floats"
    assert np.array(found["embeddings"]).shape == (3, 12)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"texts": ["a", LONG], "truncate": "NONE"}, "the text at index 1 has "),
        ({"images": ["data:"]}, "read texts, not images"),
        ({"texts": ["a"], "max_tokens": 8}, "max_tokens is not supported"),
        ({"texts": []}, "the request holds no text"),
        ({"texts": ["a"], "embedding_types": ["half"]}, "Invalid enum value"),
        ({"texts": ["a"], "output_dimension": 13}, "dimensions must be from 1 to 12"),
    ],
    ids=str,
)
def test_cohere_refuses_with_a_message(
    service: Service, content: dict[str, object], said: str
) -> None:
    status, answer = refused(service, "/v2/embed", {"model": "tiny", **content})
    assert status == 400
    assert set(answer) == {"message"}
    assert said in answer["message"]


def test_cohere_warns_of_texts_that_were_cut(service: Service) -> None:
    content = {"model": "tiny", "texts": ["a", LONG], "truncate": "START"}
    found = answered(service, "/v2/embed", content)
    warnings = ["texts were cut to the model's limit, those at index 1"]
    assert found["meta"]["warnings"] == warnings


def test_cohere_and_jina_rank(service: Service, artifacts: dict[str, Artifact]) -> None:
    expected = lanner.load(artifacts["scorer"].directory, threads=2).rank(QUERY, TEXTS)
    content = {"model": "scorer", "query": QUERY, "documents": TEXTS, "return_documents": True}
    objects = {**content, "documents": [{"text": text} for text in TEXTS]}
    asked = [("/v2/rerank", content), ("/v1/rerank", content), ("/rerank", content)]
    for path, one in [*asked, ("/v1/rerank", objects), ("/infinity/rerank", content)]:
        results = answered(service, path, one)["results"]
        assert [result["index"] for result in results] == [r["corpus_id"] for r in expected]
        np.testing.assert_allclose(
            [result["relevance_score"] for result in results],
            [ranked["score"] for ranked in expected],
            atol=1e-5,
        )
        text = expected[0]["text"]
        document = text if path == "/infinity/rerank" else {"text": text}
        assert results[0]["document"] == document
    (best,) = answered(service, "/v2/rerank", {**content, "top_n": 1})["results"]
    assert best["index"] == expected[0]["corpus_id"]


def test_infinity_classifies_and_says_what_models_can_do(service: Service) -> None:
    content = {"model": "classifier", "input": ["a man", "b"]}
    found = answered(service, "/infinity/classify", content)
    assert found["data"] == [
        answered(service, "/predict", {"inputs": text}) for text in ("a man", "b")
    ]
    embedded = {"model": "tiny", "input": "a man", "dimensions": 0}
    assert len(answered(service, "/embeddings", embedded)["data"][0]["embedding"]) == 12
    listed = service.get("/infinity/models").json["data"]
    abilities = {one["id"]: one["capabilities"] for one in listed}
    assert abilities["scorer"] == ["rerank"]
    assert abilities["classifier"] == ["classify"]


def test_documents_are_cut_to_the_tokens_that_are_asked_for(
    service: Service, artifacts: dict[str, Artifact]
) -> None:
    content = {"model": "scorer", "query": "a", "documents": [QUERY], "max_tokens_per_doc": 2}
    (found,) = answered(service, "/v2/rerank", content)["results"]
    scorer = lanner.load(artifacts["scorer"].directory, threads=2)
    score = float(scorer.score(("a", "a man")))
    assert found["relevance_score"] == pytest.approx(score, abs=1e-5)
    status, said = refused(service, "/v2/rerank", {**content, "max_tokens_per_doc": 0})
    assert (status, said["message"]) == (400, "max_tokens_per_doc must be at least 1, not 0")


def test_connect_is_the_same_for_every_head(
    service: Service, artifacts: dict[str, Artifact]
) -> None:
    pytest.importorskip("tritonclient", reason="needs the extra 'triton'")
    pairs = [(QUERY, text) for text in TEXTS]
    scorer, classifier, tagger = (
        (lanner.load(artifacts[name].directory, threads=2), lanner.connect(service.url, name))
        for name in ("scorer", "classifier", "tagger")
    )
    np.testing.assert_allclose(scorer[1].score(pairs), scorer[0].score(pairs), atol=1e-5)
    near, far = (one.classify(TEXTS) for one in classifier)
    assert [one.label for one in far] == [one.label for one in near]
    tagged = [one.tag(TEXTS) for one in tagger]
    near_spans, far_spans = (
        [[(entity.label, entity.start, entity.end) for entity in one] for one in found]
        for found in tagged
    )
    assert far_spans == near_spans


def test_the_service_describes_itself(service: Service) -> None:
    described = service.get("/openapi.json").json
    assert described["paths"]["/v1/embeddings"]["post"]["requestBody"]["required"]
    page = service.get("/docs")
    assert "<script" not in page.body.decode()
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in described["paths"]:
        assert path.replace("{name}", "") in page.body.decode().replace("{name}", "")
