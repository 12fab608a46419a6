"""The choice of a TensorRT profile for a batch, and the shape that the batch is padded to."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from lanner.artifact.buckets import bucket_of, default_buckets
from lanner.artifact.engine_build import Profile
from lanner.errors import EngineError

#: A batch of up to this many padded tokens is padded to one of few numbers of texts, so that shapes
#: repeat and a CUDA graph can launch them. Larger batches take longer to compute than to launch
#: (BERT-base in fp16 on an A100: 0.62 ms for 128 tokens and 3.85 ms for 4,096, by NVIDIA's BERT
#: demo, TensorRT 10.16), so that padding costs more than a graph gains.
GRAPH_TOKENS = 4_096
#: Larger batches are padded to a multiple of this many tokens, the tile of tensor cores
#: (NVIDIA, "Matrix Multiplication Background User's Guide").
_TILE = 8


class Placement(NamedTuple):
    """Some rows of a batch in a profile.

    Attributes:
        profile: The number of the profile in the engine.
        rows: The number of rows.
        batch: The number of rows after padding.
        length: The number of tokens per row after padding.
    """

    profile: int
    rows: int
    batch: int
    length: int

    @property
    def tokens(self) -> int:
        """Number of tokens that are computed."""
        return self.batch * self.length


def place(profiles: Sequence[Profile], rows: int, length: int) -> list[Placement]:
    """Split a batch over profiles: whole, or in equal parts if it is larger than all of them.

    Args:
        profiles: The profiles of the engine, in its order.
        rows: The number of texts.
        length: The number of tokens of the longest.

    Raises:
        EngineError: No profile is long enough.
    """
    long_enough = [(i, p) for i, p in enumerate(profiles) if p.largest[1] >= length]
    if not long_enough:
        longest = max(profile.largest[1] for profile in profiles)
        msg = (
            f"TensorRT could not run the batch: {length} tokens, but the longest profile of the "
            f"engine takes {longest}: build it with longer profiles ('lanner build-engine'), or "
            "load another variant"
        )
        raise EngineError(msg)
    most = max(profile.largest[0] for _, profile in long_enough)
    parts = -(-rows // most)
    sizes = [rows // parts + (part < rows % parts) for part in range(parts)]
    return [_best(long_enough, size, length) for size in sizes]


def _best(profiles: list[tuple[int, Profile]], rows: int, length: int) -> Placement:
    """Return the placement with the least padding; ties go to the nearest optimum shape."""
    found = [
        (_filled(number, profile, rows, length), profile)
        for number, profile in profiles
        if profile.largest[0] >= rows
    ]
    return min(
        found,
        key=lambda one: (
            one[0].tokens,
            abs(one[1].typical[1] - length),
            abs(one[1].typical[0] - rows),
            one[0].profile,
        ),
    )[0]


def _filled(number: int, profile: Profile, rows: int, length: int) -> Placement:
    (least_rows, least_length), (most_rows, most_length) = profile.smallest, profile.largest
    filled_length = max(least_length, min(-(-length // _TILE) * _TILE, most_length))
    filled_rows = max(least_rows, rows)
    if filled_rows * filled_length <= GRAPH_TOKENS:
        filled_length = max(least_length, bucket_of(length, _steps(most_length)))
        filled_rows = max(least_rows, bucket_of(rows, _batch_steps(most_rows)))
    return Placement(number, rows, filled_rows, filled_length)


@cache
def _steps(most: int) -> tuple[int, ...]:
    return default_buckets(most)


@cache
def _batch_steps(most: int) -> tuple[int, ...]:
    """Return the batch sizes 1, 2, 3, 4, 6, 8, 12, 16 ...: few, and at most a third more."""
    powers = [1 << bit for bit in range(most.bit_length())]
    steps = {*powers, *(3 * power // 2 for power in powers if power > 1), most}
    return tuple(sorted(step for step in steps if step <= most))
