"""The bound on the queue: admitted tokens that are not answered yet."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from lanner.monitoring.record import Record
from lanner.service.core.exchange import Request, Run
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.metrics import families


class TokenQueue:
    """The tokens on their way through the models, up to a number. For one event loop.

    Calls run in the order of their arrival (see `lanner.running.scheduler`), so a bound on tokens
    bounds the wait. A request that is larger than the bound runs if no other waits.

    Args:
        most_tokens: The most tokens that wait or run.
    """

    def __init__(self, most_tokens: int) -> None:
        self.most_tokens = most_tokens
        self.tokens = 0
        #: The runs of models that wait or have begun, the oldest first.
        self.runs: dict[Run, None] = {}
        #: Tokens answered in a second, as a moving average.
        self._tokens_per_s = 0.0

    @contextmanager
    def admitted(self, tokens: int) -> Iterator[None]:
        """Count the tokens of a request within the block.

        Raises:
            Refusal: Too many wait already.
        """
        if self.tokens and self.tokens + tokens > self.most_tokens:
            msg = f"{self.tokens:,} tokens wait for the models already: try again later"
            raise Refusal(Kind.OVERLOADED, msg, retry_after_s=self.wait_s)
        self.tokens += tokens
        try:
            yield
        finally:
            self.tokens -= tokens

    def run(self, request: Request) -> Run:
        """Return a context that times a model: ``queue`` until it begins, then ``model``."""
        return Run(request, self.runs)

    def write(self, record: Record) -> None:
        """Write the state of the queue into a record of metrics."""
        waiting = [run.start_s for run in self.runs if not run.has_begun]
        age_s = time.perf_counter() - min(waiting) if waiting else 0.0
        record.set(families.QUEUE_TOKENS, self.tokens)
        record.set(families.QUEUE_TOKENS_LIMIT, self.most_tokens)
        record.set(families.QUEUE_REQUESTS, len(waiting))
        record.set(families.QUEUE_AGE, age_s)

    def note(self, tokens: int, duration_s: float) -> None:
        """Note that a request was answered, with as many tokens waiting, in this time."""
        rate = tokens / max(duration_s, 1e-6)
        self._tokens_per_s += 0.05 * (rate - self._tokens_per_s)

    @property
    def wait_s(self) -> float:
        """Return the seconds until about half of the waiting tokens are answered."""
        if not self._tokens_per_s:
            return 1.0
        return min(60.0, max(0.1, self.tokens / 2 / self._tokens_per_s))
