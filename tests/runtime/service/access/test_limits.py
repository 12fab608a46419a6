from collections.abc import Callable

import pytest

from lanner.errors import InputError
from lanner.service.access.limits import LimitError, Limits

SMALL = Limits(body_bytes=10, texts=3, text_characters=5, characters=8, tokens=4)


def test_the_largest_request_is_taken() -> None:
    SMALL.check_body(10)
    SMALL.check_texts(["aaaaa", "bb", "c"])
    SMALL.check_texts([])
    SMALL.check_tokens(4)


def test_a_larger_one_is_named_by_its_limit_and_not_by_its_text() -> None:
    cases: list[tuple[str, str, Callable[[], None]]] = [
        ("body_bytes", "11 bytes of a body are more than the 10", lambda: SMALL.check_body(11)),
        ("texts", "4 texts are more than the 3", lambda: SMALL.check_texts(["x"] * 4)),
        (
            "text_characters",
            "6 characters in text 1 are more than the 5 that are allowed: divide it",
            lambda: SMALL.check_texts(["x", "secret"]),
        ),
        (
            "characters",
            "9 characters in all texts are more than the 8",
            lambda: SMALL.check_texts(["aaaa", "bbbbb"]),
        ),
        ("tokens", "5 tokens in all texts are more than the 4", lambda: SMALL.check_tokens(5)),
    ]
    for limit, message, check in cases:
        with pytest.raises(LimitError, match=message) as caught:
            check()
        assert caught.value.limit == limit
        assert isinstance(caught.value, InputError)
        assert "secret" not in str(caught.value)
