"""The heads `sparse` and `tokens` in the dialect of TEI, with answers worked out by hand."""

from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.service import Service, serving
from tests.support.word_artifact import write_manifest, write_token_artifact, write_word_artifact

from lanner.service.dialects import tei_heads

A, B, C, D = [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    directory = tmp_path_factory.mktemp("heads")
    models = {
        name: write_word_artifact(directory / f"{name}.lanner")
        for name in ("words", "terms", "late", "few")
    }
    write_manifest(models["terms"], head="sparse", similarity="dot")
    write_manifest(models["few"], head="sparse", similarity="dot", max_active_dims=1)
    write_token_artifact(models["late"])
    with serving(models, aliases={"queries": "late:query"}) as running:
        yield running


def asked(service: Service, path: str, **content: Any) -> Any:
    answer = service.post(path, content)
    assert answer.status == 200, answer.body
    return answer.json


def refused(service: Service, path: str, **content: Any) -> tuple[int, str, str]:
    answer = service.post(path, content)
    return answer.status, answer.json["error_type"], answer.json["error"]


def terms(*weights: tuple[int, float]) -> list[dict[str, object]]:
    return [{"index": index, "value": pytest.approx(value)} for index, value in weights]


def test_texts_have_the_weights_of_their_terms(service: Service) -> None:
    path = "/models/terms/embed_sparse"
    expected = [terms((0, 2 / 3), (1, 1 / 3)), terms((2, 1)), []]
    assert asked(service, path, inputs=["a a b", "c", ""]) == expected
    assert asked(service, "/embed_sparse", inputs="c", model="terms") == [terms((2, 1))]
    assert asked(service, "/models/terms", inputs="c") == [terms((2, 1))]
    assert asked(service, path, inputs="c", prompt_name="query") == [terms((0, 0.5), (2, 0.5))]
    # The checkpoint keeps the heaviest term alone.
    assert asked(service, "/models/few/embed_sparse", inputs="a a b") == [terms((0, 2 / 3))]


def test_many_texts_are_read_a_few_at_a_time(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tei_heads, "_TEXTS_AT_ONCE", 2)
    answer = service.post(
        "/models/terms/embed_sparse", {"inputs": ["a", "b", "c", "a b c d e", "b"]}
    )
    assert [[one["index"] for one in row] for row in answer.json] == [
        [0],
        [1],
        [2],
        [0, 1, 2, 3],
        [1],
    ]
    assert answer.headers["x-lanner-truncated"] == "3"
    assert answer.headers["x-compute-tokens"] == "8"


def test_each_token_has_a_vector(service: Service) -> None:
    path = "/models/late/embed_all"
    # Documents are cut to three tokens, and "c" has no vector.
    assert asked(service, path, inputs=["a c b d", "d"]) == [[A, B], [D]]
    assert asked(service, path, inputs="a b", prompt_name="document") == [[A, B]]
    # Queries are expanded by "f".
    assert asked(service, path, inputs="c", prompt_name="query") == [[C, B, B, B]]
    assert asked(service, "/embed_all", inputs="c", model="queries") == [[C, B, B, B]]
    assert asked(service, "/models/late", inputs="d") == [[D]]
    answer = service.post(path, {"inputs": ["a", "a b c d"]})
    assert answer.headers["x-lanner-truncated"] == "1"
    assert answer.headers["x-compute-tokens"] == "4"


def test_what_cannot_be_answered_is_refused(service: Service) -> None:
    status, kind, said = refused(
        service, "/models/late/embed_all", inputs=["a", "a b c d"], truncate=False
    )
    assert (status, kind) == (422, "Validation")
    assert said.startswith("the text at index 1 has 4 tokens, and the model reads at most 3")
    assert refused(service, "/models/late/embed_all", inputs="a", truncation_direction="Left") == (
        422,
        "Validation",
        "the model cuts long texts on the right: leave truncation_direction out",
    )
    status, kind, said = refused(service, "/models/late/embed_all", inputs="a", prompt_name="x")
    assert (status, kind) == (422, "Validation")
    assert "no such prompt" in said
    for path in ("/models/terms/embed_sparse", "/models/late/embed_all"):
        assert refused(service, path, inputs=[])[:2] == (400, "Empty")
    for path in ("/models/words/embed_sparse", "/models/terms/embed_all", "/models/terms/embed"):
        assert refused(service, path, inputs="a")[:2] == (424, "Backend")
