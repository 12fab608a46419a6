"""The ranges that an artifact stores for vectors in the precisions int8 and uint8."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.lib import format as npy

from lanner.errors import ArtifactError
from lanner.vectors.similarity import Vectors, normalize

#: The ranges are this many times wider than the measured values, since other texts exceed the
#: values of a few hundred. For all-MiniLM-L6-v2 on STS-B unwidened ranges would clip 1.6% of the
#: components, and the worst vector would keep a cosine of 0.991 with itself. At twice the width
#: nothing is clipped, and the worst cosine is 0.9998.
MARGIN = np.float32(2)


@dataclass(frozen=True, eq=False)
class EmbeddingRanges:
    """The range of each dimension of a model's vectors.

    Attributes:
        extremes: Lowest and highest value, float32 [2, dim].
        lengths: The mean length of the measured vectors truncated to their first 1, 2, ... dim
            dimensions, float32 [dim].
    """

    extremes: Vectors
    lengths: Vectors

    @classmethod
    def measure(cls, vectors: Vectors) -> Self:
        """Measure the ranges of vectors, widened by `MARGIN`, and their lengths.

        Args:
            vectors: float32 [n, dim], at least one of them.
        """
        squares = np.cumsum(np.square(vectors, dtype=np.float64), axis=1)
        lengths = np.maximum(np.sqrt(squares).mean(axis=0), 1e-12).astype(np.float32)
        both = np.concatenate([vectors, normalize(vectors) * lengths[-1]])
        lowest, highest = both.min(axis=0), both.max(axis=0)
        middle, half = (lowest + highest) / 2, (highest - lowest) / 2 * MARGIN
        return cls(np.stack([middle - half, middle + half]), lengths)

    def of(self, dimension: int, *, normalized: bool) -> Vectors:
        """Return the ranges of truncated vectors, normalized or not.

        The two differ by a factor only, so quantized vectors of about the mean length encode the
        same directions whether they were normalized or not. If lengths differ widely, only
        normalized vectors use all steps.

        Args:
            dimension: The number of leading dimensions that were kept.
            normalized: True if the vectors were scaled to length 1.

        Returns:
            float32 [2, dimension].
        """
        kept = self.extremes[:, :dimension]
        return kept / self.lengths[dimension - 1] if normalized else kept

    @classmethod
    def read(cls, path: Path, dimension: int) -> Self:
        """Read a file of `write`.

        Raises:
            ArtifactError: The file holds something else.
        """
        # numpy would make room for whatever size the header names.
        shape = (3, dimension)
        with path.open("rb") as file:
            try:
                is_known = npy.read_magic(file) == (1, 0)
                header = npy.read_array_header_1_0(file) if is_known else None
            except Exception:  # noqa: BLE001 (numpy parses the header as Python)
                header = None
            raw = file.read(12 * dimension + 1)
        if header != (shape, False, np.dtype("<f4")) or len(raw) != 12 * dimension:
            msg = f"{path} is not float32 of the shape [3, {dimension}]: export the artifact again"
            raise ArtifactError(msg)
        low, high, lengths = np.frombuffer(raw, "<f4").reshape(shape)
        ranges = cls(np.stack([low, high]), lengths)
        if not np.isfinite(ranges.extremes).all() or not (low <= high).all():
            problem = "ranges that are none"
        elif not np.isfinite(lengths).all() or not (lengths > 0).all():
            problem = "lengths that are none"
        else:
            return ranges
        msg = f"{path} holds {problem}: export the artifact again"
        raise ArtifactError(msg)

    def write(self, path: Path) -> None:
        """Write a .npy file, float32 [3, dim]: lowest, highest and `lengths`."""
        np.save(path, np.concatenate([self.extremes, self.lengths[None]]))
