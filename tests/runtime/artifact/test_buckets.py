import re

import numpy as np
import pytest

from lanner.artifact.buckets import bucket_of, default_buckets, fill_to_bucket, parse_buckets
from lanner.errors import InputError


@pytest.mark.parametrize(
    ("max_tokens", "buckets"),
    [
        (1, (1,)),
        (16, (16,)),
        (17, (16, 17)),
        (24, (16, 24)),
        (32, (16, 24, 32)),
        (100, (16, 24, 32, 48, 64, 96, 100)),
        (256, (16, 24, 32, 48, 64, 96, 128, 192, 256)),
        (514, (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 514)),
    ],
)
def test_default_buckets_end_at_the_limit(max_tokens: int, buckets: tuple[int, ...]) -> None:
    assert default_buckets(max_tokens) == buckets


def test_less_than_a_third_of_a_bucket_is_filling() -> None:
    buckets = default_buckets(8192)
    for length in range(17, 8193):
        bucket = bucket_of(length, buckets)
        assert bucket >= length
        assert 3 * (bucket - length) < bucket


@pytest.mark.parametrize(
    ("text", "buckets"),
    [("16,32,64", (16, 32, 64)), (" 1 , 2 ", (1, 2)), ("512", (512,)), ("", ()), (" ", ())],
)
def test_buckets_of_a_configuration(text: str, buckets: tuple[int, ...]) -> None:
    assert parse_buckets(text) == buckets


@pytest.mark.parametrize(
    "text",
    [
        "0",
        "0,4",
        "4,2",
        "2,2",
        "a",
        "2,,4",
        "2,4,",
        ",",
        "-2,4",
        "1.5",
        "²",
        "16,131073",
        "9" * 5_000,
    ],
)
def test_what_are_no_buckets(text: str) -> None:
    message = f"the buckets {text[:100]!r} must be increasing lengths in tokens, of at most 131,072"
    with pytest.raises(InputError, match=re.escape(message)):
        parse_buckets(text)


@pytest.mark.parametrize(
    ("length", "bucket"), [(0, 2), (1, 2), (2, 2), (3, 4), (4, 4), (5, 5), (900, 900)]
)
def test_the_bucket_of_a_length(length: int, bucket: int) -> None:
    assert bucket_of(length, (2, 4)) == bucket


def test_without_buckets_every_length_is_its_own() -> None:
    assert bucket_of(7, ()) == 7


def test_filling_by_hand() -> None:
    ids = np.array([[5, 6, 7], [8, 9, 0]])
    mask = np.array([[1, 1, 1], [1, 1, 0]])
    filled = fill_to_bucket({"input_ids": ids, "attention_mask": mask}, (2, 5))
    assert {name: tensor.tolist() for name, tensor in filled.items()} == {
        "input_ids": [[5, 6, 7, 0, 0], [8, 9, 0, 0, 0]],
        "attention_mask": [[1, 1, 1, 0, 0], [1, 1, 0, 0, 0]],
    }
    assert filled["input_ids"].dtype == np.int64
    assert ids.shape == (2, 3)


@pytest.mark.parametrize("buckets", [(), (3,), (2,), (2, 3, 9)])
def test_what_fits_is_left_as_it_is(buckets: tuple[int, ...]) -> None:
    ids = np.array([[5, 6, 7]])
    assert fill_to_bucket({"input_ids": ids}, buckets)["input_ids"] is ids
