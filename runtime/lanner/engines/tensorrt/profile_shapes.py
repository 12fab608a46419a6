"""The choice of a TensorRT profile for a batch, and the shape that the batch is padded to."""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple

from lanner.artifact.buckets import bucket_of, default_buckets
from lanner.artifact.engine_build import Profile
from lanner.errors import EngineError

#: Up to so many padded tokens a batch is filled up to one of few numbers of texts, so that its
#: shape comes again and a CUDA graph can launch it. Beyond, what is computed takes longer than
#: launching it: of BERT-base in fp16 on an A100, 0.62 ms for 128 tokens and 3.85 ms for 4,096
#: (NVIDIA's BERT demo, TensorRT 10.16), so that filling costs more than a graph gains.
GRAPH_TOKENS = 4_096
#: Larger batches are filled up to a multiple of so many tokens, which tensor cores take whole
#: (NVIDIA, "Matrix Multiplication Background User's Guide").
_TILE = 8


class Placement(NamedTuple):
    """Some rows of a batch in a profile.

    Attributes:
        profile: Its number in the engine.
        rows: How many rows of the batch.
        batch: How many they are filled up to.
        length: How many tokens they are filled up to.
    """

    profile: int
    rows: int
    batch: int
    length: int

    @property
    def tokens(self) -> int:
        """The tokens that are computed."""
        return self.batch * self.length


def place(profiles: Sequence[Profile], rows: int, length: int) -> list[Placement]:
    """Split a batch over profiles: whole, or in equal parts if it is larger than all of them.

    Args:
        profiles: Those of the engine, in its order.
        rows: Texts.
        length: Tokens of the longest.

    Raises:
        EngineError: No profile is as long.
    """
    long_enough = [(i, p) for i, p in enumerate(profiles) if p.largest[1] >= length]
    if not long_enough:
        longest = max(profile.largest[1] for profile in profiles)
        msg = (
            f"TensorRT could not run the batch: {length} tokens, and the longest profile of the "
            f"engine takes {longest}: build it with longer profiles ('lanner build-engine'), or "
            "load another variant"
        )
        raise EngineError(msg)
    most = max(profile.largest[0] for _, profile in long_enough)
    parts = -(-rows // most)
    sizes = [rows // parts + (part < rows % parts) for part in range(parts)]
    return [_best(long_enough, size, length) for size in sizes]


def _best(profiles: list[tuple[int, Profile]], rows: int, length: int) -> Placement:
    """The least filling; of equal ones the profile whose kernels were chosen for the nearest."""
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
    """1, 2, 3, 4, 6, 8, 12, 16 and so on: at most a third more, and few shapes."""
    powers = [1 << bit for bit in range(most.bit_length())]
    steps = {*powers, *(3 * power // 2 for power in powers if power > 1), most}
    return tuple(sorted(step for step in steps if step <= most))
