import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.graph.signed_bytes import to_signed_bytes


def test_the_largest_of_a_row_is_127() -> None:
    found, scales = to_signed_bytes(np.array([[12.7, -0.6, 0.04], [-2.54, 2.54, 0]], np.float32))
    assert found.dtype == np.int8
    assert scales.dtype == np.float32
    assert found.tolist() == [[127, -6, 0], [-127, 127, 0]]
    np.testing.assert_allclose(scales, [0.1, 0.02], rtol=1e-6)


def test_rows_of_zeros_and_of_the_smallest_floats_are_nothing() -> None:
    smallest = np.finfo(np.float32).smallest_subnormal
    found, scales = to_signed_bytes(np.array([[0, 0], [smallest, -smallest]], np.float32))
    assert not found.any()
    assert scales.tolist() == [1, 1]


def test_where_the_scale_is_rounded_bytes_stay_within_127() -> None:
    # 190 / 127 of the smallest float is rounded to 1 of it: the quotient would be 190.
    smallest = np.finfo(np.float32).smallest_subnormal
    found, _ = to_signed_bytes(np.array([[190 * smallest, -190 * smallest]], np.float32))
    assert found.tolist() == [[127, -127]]


def test_what_is_read_back_is_half_a_step_off_at_most() -> None:
    rows = np.random.default_rng(0).normal(size=(50, 40)).astype(np.float32)
    found, scales = to_signed_bytes(rows)
    assert np.abs(found).max() == 127
    assert (np.abs(found * scales[:, None] - rows) <= scales[:, None] * 0.5001).all()
