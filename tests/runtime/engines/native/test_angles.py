"""Sines and cosines of our own, beside those of the C library in double precision."""

import math

import numpy as np
import pytest

from lanner.engines.native.angles import cosine, sine


def test_they_are_those_of_double_precision() -> None:
    angles = np.concatenate([np.linspace(-8_192, 8_192, 4_001), np.arange(-8, 9) * np.pi / 4])
    for own, exact in ((sine, math.sin), (cosine, math.cos)):
        expected = [exact(angle) for angle in angles]
        np.testing.assert_allclose(own(angles), expected, rtol=0, atol=1e-12)


def test_angles_of_float32_give_float32() -> None:
    angles = np.arange(8_192, dtype=np.float32)
    expected = np.array([math.cos(angle) for angle in angles.tolist()], np.float32)
    assert cosine(angles).dtype == np.float32
    np.testing.assert_array_equal(cosine(angles), expected)


@pytest.mark.parametrize("angle", [2.0**20, np.inf, np.nan])
def test_an_angle_without_a_turn_is_refused(angle: float) -> None:
    with pytest.raises(ValueError, match="an angle that is too large"):
        sine(np.array([angle]))
