"""Bodies that no client sends: every answer is one that the dialect has, and none is a failure."""

import json
import os
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.service import Answer, Service, serving
from tests.support.word_artifact import write_word_artifact

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "150"))
#: What a text is known by, should it ever come back in a refusal.
WRITTEN = "Zaphod"

TEXT = st.one_of(
    st.text(max_size=12),
    st.just(WRITTEN),
    st.sampled_from(["", "a", "a b c d e f", "\x00", "\u202e", "\U0001d552" * 9, "a" * 5_000]),
)
SCALAR = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), TEXT)
ANYTHING = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner),
    max_leaves=8,
)
TEXTS = st.lists(TEXT, max_size=5)
IDS = st.lists(st.integers(-3, 2**33), max_size=6)
INPUT = st.one_of(TEXT, TEXTS, IDS, st.lists(IDS, max_size=3), ANYTHING)
#: For each route, likely values of its fields; any field may be missing, or be anything.
FIELDS: dict[str, dict[str, st.SearchStrategy[Any]]] = {
    "/v1/embeddings": {
        "input": INPUT,
        "model": st.sampled_from(["words", "words:query", "words:", ":", "", WRITTEN]),
        "encoding_format": st.sampled_from(["float", "base64", WRITTEN]),
        "dimensions": st.integers(-1, 6),
        "truncate": st.booleans(),
        "truncation_direction": st.sampled_from(["left", "Right", WRITTEN]),
    },
    "/embed": {
        "inputs": INPUT,
        "normalize": st.booleans(),
        "truncate": st.booleans(),
        "truncation_direction": st.sampled_from(["Left", "Right"]),
        "prompt_name": st.sampled_from(["query", "none", WRITTEN]),
        "dimensions": st.integers(-1, 6),
    },
    "/similarity": {
        "inputs": st.fixed_dictionaries({"source_sentence": TEXT, "sentences": TEXTS}) | ANYTHING
    },
    "/": {"inputs": INPUT},
    "/rerank": {"query": TEXT, "texts": TEXTS, "documents": TEXTS},
    "/predict": {"inputs": st.lists(TEXTS, max_size=3) | INPUT},
    "/tag": {"inputs": INPUT, "parameters": ANYTHING},
    "/tokenize": {"inputs": INPUT, "add_special_tokens": st.booleans()},
    "/decode": {"ids": INPUT, "skip_special_tokens": st.booleans()},
    "/v2/embed": {
        "texts": TEXTS,
        "input_type": st.sampled_from(["search_query", "image", "clustering", WRITTEN]),
        "embedding_types": st.lists(
            st.sampled_from(["float", "int8", "ubinary", "base64", WRITTEN])
        ),
        "truncate": st.sampled_from(["NONE", "START", "END", WRITTEN]),
        "output_dimension": st.integers(-1, 6),
    },
    "/v1/rerank": {"query": TEXT, "documents": TEXTS, "top_n": st.integers(-1, 3)},
    "/v2/models/words/infer": {
        "inputs": st.lists(
            st.fixed_dictionaries(
                {
                    "name": st.sampled_from(["input_ids", "attention_mask", "text", WRITTEN]),
                    "shape": st.lists(st.integers(-1, 4), max_size=3),
                    "datatype": st.sampled_from(["INT64", "BYTES", "FP32", WRITTEN]),
                    "data": IDS | TEXTS | ANYTHING,
                }
            ),
            max_size=3,
        ),
        "parameters": ANYTHING,
        "outputs": ANYTHING,
    },
}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    words = write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")
    with serving({"words": words}, access_log=False) as running:
        yield running


def is_of_a_dialect(answer: Answer) -> bool:
    """Return whether a refusal has the shape of one of the dialects, and repeats no text."""
    content = answer.json
    said = content.get("error", content.get("message"))
    is_shaped = isinstance(said, str | dict) and "x-request-id" in answer.headers
    return is_shaped and WRITTEN.encode() not in answer.body


@pytest.mark.parametrize("path", FIELDS)
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
def test_a_body_is_answered_or_refused(service: Service, path: str, data: st.DataObject) -> None:
    likely = {name: value | ANYTHING for name, value in FIELDS[path].items()}
    content = data.draw(st.fixed_dictionaries({}, optional=likely) | ANYTHING)
    answer = service.post(path, json.dumps(content).encode())
    assert answer.status in (200, 400, 404, 413, 422, 424), answer.body
    assert answer.status == 200 or is_of_a_dialect(answer), answer.body
    if answer.status == 200 and answer.headers["content-type"] == "application/json":
        assert b"NaN" not in answer.body
        assert answer.json is not None


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize="FUZZ_EXAMPLES" not in os.environ,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(path=st.sampled_from(list(FIELDS)), body=st.binary(max_size=60))
def test_bytes_are_refused(service: Service, path: str, body: bytes) -> None:
    answer = service.post(path, b'{"input' + body)
    assert answer.status in (400, 422, 404, 424), answer.body
    assert is_of_a_dialect(answer)
