import pytest

from lanner.artifact.engine_build import Profile
from lanner.engines.tensorrt.profile_shapes import GRAPH_TOKENS, Placement, place
from lanner.errors import EngineError

#: A profile a bucket, of one length each.
BUCKETS = [Profile((1, n), (8, n), (32, n)) for n in (16, 64, 256)]
#: One for everything.
WIDE = [Profile((1, 1), (8, 64), (64, 512))]
#: Few texts, and many.
BY_BATCH = [Profile((1, 32), (1, 32), (1, 32)), Profile((8, 32), (64, 32), (64, 32))]


@pytest.mark.parametrize(
    ("profiles", "rows", "length", "expected"),
    [
        (BUCKETS, 1, 1, [Placement(0, 1, 1, 16)]),
        (BUCKETS, 5, 17, [Placement(1, 5, 6, 64)]),
        (BUCKETS, 32, 256, [Placement(2, 32, 32, 256)]),
        # 17 texts would be filled up to 24, of more than GRAPH_TOKENS.
        (BUCKETS, 17, 200, [Placement(2, 17, 17, 256)]),
        # 70 texts in three parts of about a size, each filled up to 24.
        (BUCKETS, 70, 10, [Placement(0, 24, 24, 16), *[Placement(0, 23, 24, 16)] * 2]),
        (WIDE, 3, 50, [Placement(0, 3, 3, 64)]),
        (WIDE, 1, 300, [Placement(0, 1, 1, 384)]),
        (WIDE, 64, 512, [Placement(0, 64, 64, 512)]),
        (BY_BATCH, 1, 9, [Placement(0, 1, 1, 32)]),
        (BY_BATCH, 3, 9, [Placement(1, 3, 8, 32)]),
    ],
)
def test_the_profile_and_shape_of_a_batch(
    profiles: list[Profile], rows: int, length: int, expected: list[Placement]
) -> None:
    assert place(profiles, rows, length) == expected


def test_of_profiles_that_fill_alike_the_nearest_is_taken() -> None:
    profiles = [
        Profile((1, 1), (1, 512), (64, 512)),
        Profile((1, 1), (32, 64), (64, 512)),
        Profile((1, 1), (2, 64), (64, 512)),
    ]
    assert place(profiles, 3, 64) == [Placement(2, 3, 3, 64)]
    assert place(profiles, 3, 400) == [Placement(0, 3, 3, 512)]


@pytest.mark.parametrize("profiles", [BUCKETS, WIDE, BY_BATCH], ids=["buckets", "wide", "batch"])
def test_every_batch_is_within_its_profile(profiles: list[Profile]) -> None:
    longest = max(profile.largest[1] for profile in profiles)
    shapes = set()
    for length in range(1, longest + 1):
        for rows in range(1, 100, 3):
            parts = place(profiles, rows, length)
            assert sum(part.rows for part in parts) == rows
            for part in parts:
                assert profiles[part.profile].takes(part.batch, part.length)
                assert part.batch >= part.rows
                assert part.length >= length
                if part.tokens <= GRAPH_TOKENS:
                    shapes.add(part[0::2] + part[3:])
    assert len(shapes) < 110


def test_no_profile_is_long_enough() -> None:
    with pytest.raises(EngineError, match=r"257 tokens, but the longest profile of the engine tak"):
        place(BUCKETS, 1, 257)
