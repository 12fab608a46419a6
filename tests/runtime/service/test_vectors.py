"""Vectors as the service gives them."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

pytest.importorskip("orjson", reason="needs the extra 'service'")

from lanner.service.core.refusal import Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import base64_rows, shaped, to_json

SERVED = cast("ServedModel", SimpleNamespace(name="m"))


def test_a_vector_of_length_1_stays_bit_for_bit_whatever_is_beside_it() -> None:
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((64, 384)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mixed = np.concatenate([rows, 2 * rows, np.zeros((1, 384), np.float32)])
    alone = shaped(rows, SERVED, dimensions=None, is_normalized=True)
    beside = shaped(mixed, SERVED, dimensions=None, is_normalized=True)
    np.testing.assert_array_equal(alone, rows)
    np.testing.assert_array_equal(beside[:64], rows)
    np.testing.assert_allclose(np.linalg.norm(beside[64:128], axis=1), 1, atol=1e-6)
    assert not beside[128].any()
    for index, one in enumerate(mixed):
        single = shaped(one[np.newaxis], SERVED, dimensions=None, is_normalized=True)
        np.testing.assert_array_equal(single[0], beside[index])
    raw = shaped(mixed, SERVED, dimensions=None, is_normalized=False)
    np.testing.assert_array_equal(raw, mixed)


def test_leading_dimensions_are_scaled_again() -> None:
    vectors = np.array([[0.6, 0.0, 0.8], [3.0, 4.0, 0.0]], np.float32)
    found = shaped(vectors, SERVED, dimensions=2, is_normalized=True)
    assert found.tolist() == [pytest.approx([1, 0]), pytest.approx([0.6, 0.8])]
    with pytest.raises(Refusal, match="dimensions must be from 1 to 3 for the model m"):
        shaped(vectors, SERVED, dimensions=4, is_normalized=True)


def test_base64_is_little_endian_and_json_is_short() -> None:
    vectors = np.array([[1.0, -2.0]], np.float32)
    assert base64_rows(vectors) == ["AACAPwAAAMA="]
    assert to_json(np.array([[0.1, 1.0]], np.float32)) == b"[[0.1,1.0]]"
