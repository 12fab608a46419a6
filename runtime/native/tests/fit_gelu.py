"""The polynomial of `gelu_erf` in src/kernels/elementary.h: print its coefficients and its error.

Phi(x) - 1/2 = x * P(2 x^2 / cut^2 - 1) for |x| <= cut, with the least greatest error of
x * Phi(x). At the cut it reaches a little more than 1/2, so that Phi is 0 and 1 beyond.
Lawson's method: least squares whose weights grow where the error is large.
"""

import math

import numpy as np
from numpy.typing import NDArray

CUT, DEGREE, ROUNDS = 5.2, 14, 80
#: What the cut adds to Phi, and how late it begins to.
_BEYOND, _POWER = 1.6e-7, 16


def half_phi(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the normal distribution less 1/2."""
    return np.array([0.5 * math.erf(value / math.sqrt(2)) for value in x])


def coefficients() -> NDArray[np.float64]:
    """Return P's coefficients, the constant first."""
    nodes = [CUT * np.sin(np.linspace(0, np.pi / 2, 4000)), np.linspace(0, CUT, 3000)]
    x = np.unique(np.concatenate(nodes))[1:]
    matrix = np.polynomial.chebyshev.chebvander(2 * x * x / CUT**2 - 1, DEGREE) * (x * x)[:, None]
    wanted = x * (half_phi(x) + _BEYOND * (x / CUT) ** _POWER)
    weights = np.ones_like(x)
    for _ in range(ROUNDS):
        root = np.sqrt(weights)
        chebyshev = np.linalg.lstsq(matrix * root[:, None], wanted * root, rcond=None)[0]
        weights *= np.abs(matrix @ chebyshev - wanted)
        weights = np.maximum(weights / weights.sum(), 1e-12)
    return np.polynomial.chebyshev.cheb2poly(chebyshev)


def main() -> None:
    """Print each coefficient in hexadecimal, and the greatest error over [-8, 8]."""
    powers = coefficients().astype(np.float32)
    print(*(float(value).hex() for value in powers), sep="\n")
    x = np.linspace(-8, 8, 400001)
    inside = np.clip(x, -CUT, CUT)
    value = np.polynomial.polynomial.polyval(2 * inside**2 / CUT**2 - 1, powers.astype(float))
    error = x * np.clip(inside * value + 0.5, 0, 1) - x * (half_phi(x) + 0.5)
    print(f"greatest error of x * Phi(x): {np.abs(error).max():.1e}")


if __name__ == "__main__":
    main()
