"""Arguments of a wrong type are errors of Lanner that name them, whatever they are."""

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.word_artifact import write_word_artifact

import lanner
from lanner.errors import ArtifactError, InputError, InputTypeError, LannerError
from lanner.models.inputs import require_count

#: One value of each type that somebody may pass by mistake.
WRONG = [
    None,
    5,
    2.5,
    -1,
    0,
    True,
    "x",
    "",
    b"x",
    [],
    ["a"],
    {},
    (),
    object(),
    float("nan"),
    np.int64(3),
    np.float32(2),
    10**30,
    "x" * 300,
    "a\0b",
    np.array([1, 2]),
    len,
]
NOWHERE = "http://127.0.0.1:9"
#: They are true or false as Python has it.
SWITCHES = {"normalize_embeddings", "convert_to_numpy", "convert_to_tensor", "show_progress_bar"}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("arguments") / "words.lanner")


@pytest.fixture(scope="module")
def model(artifact: Path) -> Iterator[lanner.EmbeddingModel]:
    with lanner.load(artifact, head=lanner.EmbeddingModel, threads=1) as loaded:
        yield loaded


def names_of(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    return [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.kind in kinds and name not in SWITCHES
    ]


def try_all(function: Callable[..., Any], **fitting: object) -> int:
    """Call a function with each wrong value as each argument; return how many were refused."""
    refused = 0
    for name in names_of(function):
        for value in WRONG:
            try:
                answer = function(**{**fitting, name: value})
            except LannerError:
                refused += 1
            else:
                getattr(answer, "close", int)()
    return refused


def test_load(artifact: Path) -> None:
    assert try_all(lanner.load, path=artifact, threads=1) > 100


def test_connect() -> None:
    # Nothing listens there, so that whatever is taken is an error, too.
    assert try_all(lanner.connect, url=NOWHERE, name="m", retries=0) > 200


def test_methods(model: lanner.EmbeddingModel) -> None:
    vectors = model.encode(["a", "b"])
    assert try_all(model.encode, sentences=["a"]) > 60
    assert try_all(model.search, queries=vectors, corpus=vectors) > 30
    assert try_all(model.similarity, a=vectors, b=vectors) > 20
    assert try_all(model.embedding_ranges) > 5
    assert try_all(lanner.quantize_embeddings, embeddings=vectors, precision="int8") > 30
    assert try_all(lanner.retrieve, encoder=model, scorer=model, query="a", corpus=["b"]) > 90


def test_an_artifact(artifact: Path) -> None:
    assert try_all(lanner.Artifact.open, directory=artifact) > 15
    with pytest.raises(InputTypeError, match=r"^the directory of an artifact must be a path, not"):
        lanner.Artifact.open(5)  # type: ignore[arg-type]


def test_what_is_wrong_is_named(artifact: Path, model: lanner.EmbeddingModel) -> None:
    with pytest.raises(InputTypeError, match=r"^batch_size must be a whole number, not float$"):
        model.encode(["a"], batch_size=2.5)  # type: ignore[call-overload]
    with pytest.raises(InputError, match=r"^timeout_ms must be a number of .* above 0, not x$"):
        model.encode(["a"], timeout_ms="x")  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"^prompt must be a str, not int$"):
        model.encode(["a"], prompt=5)  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"^path must be a path, not NoneType$"):
        lanner.load(None)  # type: ignore[call-overload]
    with pytest.raises(
        ArtifactError, match=r"^x{100} cannot be opened \(File name too long\): check"
    ):
        lanner.load("x" * 300)
    with pytest.raises(ArtifactError, match=r"^a\0b is not a directory: pass one that"):
        lanner.load("a\0b")
    with pytest.raises(InputError, match=r"^threads must be at most [\d,]+, not 1000000$"):
        lanner.load(artifact, threads=10**6)
    with pytest.raises(InputTypeError, match=r"^head must be a class such as lanner.*, not 5$"):
        lanner.load(artifact, head=5)  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"^headers must be a dict of names and values, not"):
        lanner.connect(NOWHERE, "m", headers="a: b")  # type: ignore[call-overload]
    with pytest.raises(InputTypeError, match=r"^the scorer of retrieve must be a loaded"):
        lanner.retrieve(model, 5, "a", ["b"])  # type: ignore[call-overload]


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_a_whole_number_of_any_kind(value: object) -> None:
    found = require_count("k", value)
    assert (found, type(found)) == (3, int)


@pytest.mark.parametrize("value", [True, 3.0, "3", None, np.float32(3), np.bool_(True)])
def test_what_is_no_whole_number(value: object) -> None:
    kind = type(value).__name__
    with pytest.raises(InputTypeError, match=rf"^k must be a whole number, not {kind}$"):
        require_count("k", value)
