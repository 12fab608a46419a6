"""The dialect of KServe: the client of Lanner is the same for the service and for Triton."""

import pickle
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from tests.support.service import Service, serving
from tests.support.word_artifact import write_manifest, write_word_artifact

import lanner
from lanner.errors import (
    ArtifactError,
    ModelUnavailableError,
    Overloaded,
    ServerUnavailableError,
    UnsupportedError,
)

pytest.importorskip("tritonclient", reason="needs the extra 'triton'")


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    return write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")


@pytest.fixture(scope="module")
def service(words: Path) -> Iterator[Service]:
    with serving({"words": words}) as running:
        yield running


def test_connect_is_the_same_as_in_process(service: Service, words: Path) -> None:
    near, far = lanner.load(words), lanner.connect(service.url, "words")
    texts = ["a", "b c", "", "a b c d e f", "f"] * 20
    assert isinstance(far, lanner.EmbeddingModel)
    np.testing.assert_array_equal(far.encode(texts), near.encode(texts))
    np.testing.assert_array_equal(
        far.encode(texts, prompt_name="query"), near.encode(texts, prompt_name="query")
    )


def test_a_pickle_connects_again(service: Service, words: Path) -> None:
    far = lanner.connect(service.url, "words", request_tokens=64)
    again: lanner.EmbeddingModel = pickle.loads(pickle.dumps(far))  # noqa: S301 (its own)
    assert again is not far
    assert again.runner.token_budget == 64
    texts = ["a", "b c", "", "a b c d e f", "f"] * 20
    np.testing.assert_array_equal(again.encode(texts), far.encode(texts))
    far.close()
    assert again.encode("a b").tolist() == [0.5, 0.5, 0, 0]
    # In processes that share nothing with this one, as joblib, Spark and Ray start them.
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(again.encode, ["a b", "c"]))
    assert [one.tolist() for one in found] == [[0.5, 0.5, 0, 0], [0, 0, 1, 0]]


def test_a_pickle_that_cannot_connect_again(service: Service, words: Path, tmp_path: Path) -> None:
    secret = lanner.connect(service.url, "words", headers={"authorization": "Bearer secret"})
    with pytest.raises(UnsupportedError, match=r"^words cannot be pickled: open it with lanner\.l"):
        pickle.dumps(secret)
    with serving({"words": words}) as other:
        port = other.door.port
        pickled = pickle.dumps(lanner.connect(other.url, "words", retries=0))
    with pytest.raises(ServerUnavailableError):
        pickle.loads(pickled)  # noqa: S301 (its own)
    second = write_word_artifact(tmp_path / "second.lanner")
    write_manifest(second, created="2026-02-02T00:00:00Z")
    message = r"^words has changed since the model was pickled \(its manifest is \w{12}, th"
    with serving({"words": second}, port=port), pytest.raises(ArtifactError, match=message):
        pickle.loads(pickled)  # noqa: S301 (its own)


def test_a_model_that_is_not_there(service: Service) -> None:
    with pytest.raises(ModelUnavailableError, match="unknown model"):
        lanner.connect(service.url, "other", retries=0)


def test_a_client_that_connected_follows_a_new_version(words: Path, tmp_path: Path) -> None:
    link, second = tmp_path / "words.lanner", tmp_path / "second.lanner"
    link.symlink_to(words)
    write_word_artifact(second)
    write_manifest(second, created="2026-02-02T00:00:00Z")
    with serving({"words": link}, reload_s=0.05) as service:
        far = lanner.connect(service.url, "words")
        assert far.encode("a b").tolist() == [0.5, 0.5, 0, 0]
        moved = tmp_path / "moved"
        moved.symlink_to(second)
        moved.rename(link)
        end = time.monotonic() + 20
        while far.manifest.created != "2026-02-02T00:00:00Z":
            assert far.encode("a b").tolist() == [0.5, 0.5, 0, 0]
            assert time.monotonic() < end


def test_an_overload_is_the_clients_own_error(words: Path) -> None:
    with serving({"words": words}, request_timeout_s=1e-6) as service:
        far = lanner.connect(service.url, "words", retries=0)
        with pytest.raises(Overloaded, match="try again later"):
            far.encode("a")


def test_texts_in_json_as_clients_of_other_servers_send_them(service: Service) -> None:
    content = {
        "inputs": [{"name": "input_text", "shape": [2], "datatype": "BYTES", "data": ["a", "b b"]}]
    }
    answer = service.post("/v2/models/words/infer", content)
    (output,) = answer.json["outputs"]
    assert (output["name"], output["shape"]) == ("sentence_embedding", [2, 4])
    assert output["data"] == [1, 0, 0, 0, 0, 1, 0, 0]
    assert answer.json["model_version"] == "1"


def tensor(**changes: object) -> dict[str, object]:
    return {"name": "input_ids", "shape": [1, 2], "datatype": "INT64", "data": [2, 3], **changes}


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"data": [2, 8]}, "ids that are not of the model's vocabulary, 0 to 7"),
        ({"data": [2, -1]}, "ids that are not of the model's vocabulary, 0 to 7"),
        ({"data": [2]}, "another number of values than its shape"),
        ({"shape": [1, -2]}, "a shape that is none"),
        ({"shape": [2]}, "must be integers of one shape"),
        ({"shape": [1, 5], "data": [2] * 5}, "has 5 tokens, and the model reads 4"),
        ({"datatype": "STRING"}, "a datatype that no model of the service takes"),
        ({"data": ["x", "y"]}, "data of another type"),
        ({"data": None}, "no data"),
        ({"parameters": {"binary_data_size": 10**9}}, "a binary_data_size that is not in the body"),
        ({"parameters": {"binary_data_size": -1}}, "a binary_data_size that is not in the body"),
        ({"name": "other"}, "the model takes the inputs input_ids, attention_mask"),
    ],
    ids=str,
)
def test_a_request_that_is_none_is_refused(
    service: Service, given: dict[str, object], said: str
) -> None:
    ids = tensor(**given)
    mask = {**ids, "name": "attention_mask"}
    answer = service.post("/v2/models/words/infer", {"inputs": [ids, mask]})
    assert answer.status == 400
    assert said in answer.json["error"]


def test_a_length_of_the_header_that_is_none(service: Service) -> None:
    for length in ("-1", "x", "9" * 30):
        answer = service.ask(
            "POST", "/v2/models/words/infer", b"{}", {"inference-header-content-length": length}
        )
        assert answer.status == 400


def test_the_text_model_and_its_metadata(service: Service) -> None:
    assert service.get("/v2/models/words_text").json["inputs"] == [
        {"name": "text", "datatype": "BYTES", "shape": [-1, 1]}
    ]
    assert service.get("/v2/models/words/versions/2").status == 404
    assert service.get("/v2/health/ready").status == 200
    assert service.get("/v2/models/words/ready").status == 200
