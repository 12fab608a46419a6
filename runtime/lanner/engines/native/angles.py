"""Sines and cosines, the same on every machine; those of libraries differ in the last bits."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: A half of pi as the sum of a number of 33 bits, whose small multiples are exact, and the rest.
_HALF_PI, _REST = 1.57079632673412561417, 6.07710050650619224932e-11
#: Taylor's series to the powers 15 and 14: on [-pi/4, pi/4] far below the last bit of float32.
_SINE = (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800, 1 / 6227020800)
_COSINE = (-1 / 2, 1 / 24, -1 / 720, 1 / 40320, -1 / 3628800, 1 / 479001600, -1 / 87178291200)
_MOST = 2.0**20


def sine(angles: NDArray[Any]) -> NDArray[Any]:
    """Return the sine of each angle in radians, in the type of the angles.

    Raises:
        ValueError: An angle is too large, or not a number.
    """
    return _turned(angles, 0)


def cosine(angles: NDArray[Any]) -> NDArray[Any]:
    """Return the cosine of each angle in radians, in the type of the angles.

    Raises:
        ValueError: An angle is too large, or not a number.
    """
    return _turned(angles, 1)


def _turned(angles: NDArray[Any], quarters: int) -> NDArray[Any]:
    """Return the sine of angles and some quarters of a turn."""
    x = angles.astype(np.float64)
    if not (np.abs(x) < _MOST).all():
        msg = "an angle that is too large"
        raise ValueError(msg)
    turns = np.rint(x * (2 / np.pi))
    rest = x - turns * _HALF_PI - turns * _REST
    square = rest * rest
    sines = rest + rest * square * _series(_SINE, square)
    cosines = 1 + square * _series(_COSINE, square)
    quarter = turns.astype(np.int64) + quarters
    found = np.where(quarter & 1, cosines, sines)
    return np.where(quarter & 2, -found, found).astype(angles.dtype)


def _series(coefficients: tuple[float, ...], x: NDArray[np.float64]) -> NDArray[np.float64]:
    total = np.full_like(x, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        total = total * x + coefficient
    return total
