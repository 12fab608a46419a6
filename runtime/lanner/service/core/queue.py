"""The bound on the queue: admitted tokens that are not answered yet."""

import time

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

    def admitted(self, tokens: int) -> "Admitted":
        """Return a context that counts the tokens of a request.

        Raises:
            Refusal: Too many wait already; raised where the block begins.
        """
        return Admitted(self, tokens)

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


class Admitted:
    """A context that counts the tokens of a request in a queue; see `TokenQueue.admitted`.

    A generator would take several times as long, as in `lanner.service.core.exchange.Part`.

    Args:
        queue: The queue.
        tokens: The tokens of the request.
    """

    __slots__ = ("_queue", "_tokens")

    def __init__(self, queue: TokenQueue, tokens: int) -> None:
        self._queue, self._tokens = queue, tokens

    def __enter__(self) -> None:
        queue = self._queue
        if queue.tokens and queue.tokens + self._tokens > queue.most_tokens:
            msg = f"{queue.tokens:,} tokens wait for the models already: try again later"
            raise Refusal(Kind.OVERLOADED, msg, retry_after_s=queue.wait_s)
        queue.tokens += self._tokens

    def __exit__(self, *_: object) -> None:
        self._queue.tokens -= self._tokens
