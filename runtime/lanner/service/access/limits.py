"""The most that one request, and all connections together, may take of the service."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lanner.errors import InputError

Limit = Literal["body_bytes", "texts", "text_characters", "characters", "tokens"]

_SEVERAL = "send the texts in several requests"


class LimitError(InputError):
    """A request is larger than the service takes.

    Args:
        limit: The field of `Limits` that it exceeds.
        found: Its size.
        most: The largest size.
        noun: The unit, for people.
        remedy: Words for the caller.
    """

    def __init__(self, limit: Limit, found: int, most: int, noun: str, remedy: str) -> None:
        super().__init__(f"{found:,} {noun} are more than the {most:,} that are allowed: {remedy}")
        self.limit = limit


@dataclass(frozen=True)
class Limits:
    """The limits of a service.

    Attributes:
        body_bytes: The most bytes of a body. 16 MiB are `texts` texts of 8 KiB.
        texts: The most texts or documents of a request. 2,048 is OpenAI's own limit.
        text_characters: The most characters of a text. A tokenizer reads all of a text before it
            is cut, half a million in about half a second.
        characters: The most characters of a request: `texts` texts of 2,048, more than the 512
            tokens that most models read.
        tokens: The most tokens of a request, as cut for the model: `texts` texts of 512.
        header_bytes: The most bytes of a request's line and headers. nginx takes 32 KiB.
        head_s: The most seconds from the first byte of a request, or from the beginning of a
            connection, to the end of its headers. A client sends them at once.
        body_s: The most seconds from there to the end of the body: 16 MiB at 4.5 Mbit/s.
        idle_s: The seconds that a connection without a request stays open. Proxies keep theirs for
            60, and a proxy that sends on a connection while it closes reports an error.
        connections: The most connections at once. A process may open 1,024 files by default.
    """

    body_bytes: int = 16 << 20
    texts: int = 2_048
    text_characters: int = 1 << 19
    characters: int = 1 << 22
    tokens: int = 1 << 20
    header_bytes: int = 32 << 10
    head_s: float = 10.0
    body_s: float = 30.0
    idle_s: float = 75.0
    connections: int = 900

    def check_body(self, size_bytes: int) -> None:
        """Check the size of a body, as announced or as received so far.

        Raises:
            LimitError: It is larger than `body_bytes`.
        """
        self._check("body_bytes", size_bytes, "bytes of a body", "send fewer texts in one request")

    def check_texts(self, texts: Sequence[str]) -> None:
        """Check the number of texts and their characters.

        Raises:
            LimitError: There are more than `texts`, or more characters than `text_characters` in
                one or `characters` in all; the message names a text by its index.
        """
        self._check("texts", len(texts), "texts", _SEVERAL)
        lengths = list(map(len, texts))
        longest = max(lengths, default=0)
        if longest > self.text_characters:
            index = lengths.index(longest)
            self._check("text_characters", longest, f"characters in text {index}", "divide it")
        self._check("characters", sum(lengths), "characters in all texts", _SEVERAL)

    def check_tokens(self, count: int) -> None:
        """Check the number of tokens of a request.

        Raises:
            LimitError: They are more than `tokens`.
        """
        self._check("tokens", count, "tokens in all texts", _SEVERAL)

    def _check(self, limit: Limit, found: int, noun: str, remedy: str) -> None:
        most: int = getattr(self, limit)
        if found > most:
            raise LimitError(limit, found, most, noun, remedy)
