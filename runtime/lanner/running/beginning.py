"""The moment at which the first batch of a caller begins; until then the caller waits."""

import time
from contextvars import ContextVar


class Beginning:
    """Notes when a worker began with the calls of a context. Any thread may use it.

    Attributes:
        at_s: The time by `time.perf_counter`, or None while all calls wait.
    """

    __slots__ = ("at_s",)

    def __init__(self) -> None:
        self.at_s: float | None = None

    def note(self) -> None:
        """Note that a batch begins; only the first one counts."""
        if self.at_s is None:
            self.at_s = time.perf_counter()


#: Notified of the first batch of the calls in this context; usually None.
current_beginning: ContextVar[Beginning | None] = ContextVar("beginning", default=None)
