"""The sequences that all methods accept, and those that none accepts."""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lanner.errors import InputTypeError
from lanner.models.embedding import EmbeddingModel
from lanner.models.inputs import text_list, texts_or_vectors

TEXTS = ["a b", "c", "d d"]


def column(kind: str, texts: list[Any]) -> Any:
    if kind == "series":
        # Its index differs from the positions.
        return pytest.importorskip("pandas").Series(texts, index=range(7, 7 + len(texts)))
    if kind == "polars":
        return pytest.importorskip("polars").Series(texts)
    arrow = pytest.importorskip("pyarrow", reason="needs the parquet extra")
    return arrow.array(texts) if kind == "arrow" else arrow.chunked_array([texts[:1], texts[1:]])


SEQUENCES: dict[str, Callable[[list[Any]], Any]] = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "array of objects": lambda texts: np.array(texts, object),
    "generator": lambda texts: (text for text in texts),
    "keys": lambda texts: dict.fromkeys(texts).keys().__iter__(),
    "series": lambda texts: column("series", texts),
    "polars": lambda texts: column("polars", texts),
    "arrow": lambda texts: column("arrow", texts),
    "chunked": lambda texts: column("chunked", texts),
}


@pytest.mark.parametrize("kind", SEQUENCES)
def test_texts_in_any_sequence(word_model: EmbeddingModel, kind: str) -> None:
    make = SEQUENCES[kind]
    assert text_list(make(TEXTS), "encode") == TEXTS
    expected = word_model.encode(TEXTS)
    np.testing.assert_array_equal(word_model.encode(make(TEXTS)), expected)
    np.testing.assert_array_equal(word_model.encode_query(make(TEXTS), prompt=""), expected)
    found = word_model.search("c", make(TEXTS), k=3)
    assert found.indices.tolist() == word_model.search("c", TEXTS, k=3).indices.tolist()
    assert word_model.search(make(TEXTS), TEXTS, k=1).indices[:, 0].tolist() == [0, 1, 2]


@pytest.mark.parametrize("kind", ["list", "tuple", "array of objects", "generator", "series"])
def test_a_bad_item_has_its_index(word_model: EmbeddingModel, kind: str) -> None:
    given: list[Any] = ["a", 7, "b"]
    message = r"^every text must be a str, but the item at index 1 is of type int"
    for call in (word_model.encode, lambda texts: word_model.search("a", texts)):
        with pytest.raises(InputTypeError, match=message):
            call(SEQUENCES[kind](given))


def test_a_missing_value_of_a_column(word_model: EmbeddingModel) -> None:
    with pytest.raises(InputTypeError, match=r"the item at index 1 is None$"):
        word_model.encode(column("arrow", ["a", None]))
    with pytest.raises(InputTypeError, match=r"the item at index 1 is (None|of type float)$"):
        word_model.encode(column("series", ["a", None]))


@pytest.mark.parametrize("kind", ["pandas", "polars", "arrow"])
def test_a_whole_table_is_refused(word_model: EmbeddingModel, kind: str) -> None:
    data = {"t": ["a", "b"], "u": ["x", "y"]}
    if kind == "arrow":
        table = pytest.importorskip("pyarrow").table(data)
    else:
        table = pytest.importorskip(kind).DataFrame(data)
    name = type(table).__name__
    end = f"not the whole {name}: give one of its columns"
    with pytest.raises(InputTypeError, match=f"^encode takes a str or a sequence of str, {end}$"):
        word_model.encode(table)
    with pytest.raises(InputTypeError, match=f"^search takes a str or a sequence of str, {end}$"):
        word_model.search("a", table)


@pytest.mark.parametrize("value", [{"a", "b"}, {"a": 1}, b"a", bytearray(b"a"), 7, None])
def test_what_has_no_order_or_no_items(word_model: EmbeddingModel, value: Any) -> None:
    message = f"encode takes a str or a sequence of str, not {type(value).__name__}"
    with pytest.raises(InputTypeError, match=f"^{re.escape(message)}$"):
        word_model.encode(value)


def test_vectors_stay_what_they_are() -> None:
    vectors = np.eye(2, dtype=np.float32)
    assert texts_or_vectors(vectors, "search") is vectors
    listed = vectors.tolist()
    assert texts_or_vectors(listed, "search") is listed
    assert texts_or_vectors(iter(listed), "search") == listed
