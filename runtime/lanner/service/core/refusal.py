"""Refusals: the reasons why the service does not answer a request, independent of the dialect."""

from collections.abc import Mapping
from enum import Enum

from lanner.errors import (
    DeadlineError,
    HeadError,
    InputError,
    LannerError,
    ModelUnavailableError,
    Overloaded,
    ServerUnavailableError,
    UnsupportedError,
)


class Kind(Enum):
    """The kind of a refusal; the value is its usual HTTP status and a word for programs."""

    EMPTY = (400, "empty")
    INVALID = (400, "invalid")
    TOO_LONG = (400, "too_long")
    WRONG_HEAD = (400, "wrong_head")
    NO_KEY = (401, "no_key")
    FORBIDDEN = (403, "forbidden")
    NOT_FOUND = (404, "not_found")
    NO_MODEL = (404, "no_model")
    WRONG_METHOD = (405, "wrong_method")
    TOO_SLOW = (408, "too_slow")
    TOO_LARGE = (413, "too_large")
    ENCODED = (415, "encoded")
    RATE_LIMITED = (429, "rate_limited")
    OVERLOADED = (429, "overloaded")
    BACKEND = (500, "backend")
    UNAVAILABLE = (503, "unavailable")

    @property
    def status(self) -> int:
        """Return the usual HTTP status."""
        return self.value[0]

    @property
    def word(self) -> str:
        """Return the word for programs."""
        return self.value[1]


class Refusal(LannerError):  # noqa: N818 (it refuses, as Overloaded does)
    """The service does not answer a request. The message holds nothing that a user wrote.

    Args:
        kind: Its kind.
        message: One sentence that names the thing and the remedy.
        param: The field of the request that is to blame, or None.
        retry_after_s: Seconds after which another try may succeed, or None.
        headers: Further headers of the answer, such as `Allow`.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        param: str | None = None,
        retry_after_s: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.headers = dict(headers or {})
        self.kind, self.message, self.param = kind, message, param
        if retry_after_s is None and kind.status in (429, 503):
            retry_after_s = 1.0
        self.retry_after_s = retry_after_s

    @classmethod
    def of(cls, error: Exception) -> "Refusal":
        """Return the refusal for an error of a model.

        The messages of engines may name paths, and are not passed on.
        """
        if isinstance(error, Refusal):
            return error
        for kinds, kind, message in _MEANINGS:
            if isinstance(error, kinds):
                return cls(kind, message or str(error))
        return cls(Kind.BACKEND, "the model failed: see the log of the service")


_MEANINGS: tuple[tuple[type[Exception], Kind, str], ...] = (
    (Overloaded, Kind.OVERLOADED, "the model has as many requests waiting as it takes: try later"),
    (DeadlineError, Kind.OVERLOADED, "the time for this request is up before its turn: try later"),
    (HeadError, Kind.WRONG_HEAD, ""),
    (InputError, Kind.INVALID, ""),
    (UnsupportedError, Kind.INVALID, ""),
    (ServerUnavailableError, Kind.UNAVAILABLE, "the server of the model does not answer"),
    (ModelUnavailableError, Kind.UNAVAILABLE, "the model is not ready on its server"),
)
