"""The time that requests take, from the result of `lanner bench`."""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lanner.errors import BenchmarkError

#: The kinds of subjects to plan with, the best first: a service was measured with HTTP and JSON.
_KINDS = ("service", "lanner")


@dataclass(frozen=True)
class ServiceTime:
    """The time of a core for batches.

    Attributes:
        text_ms: Numbers of tokens, ascending, and the milliseconds of a text of that length in a
            full batch.
        run_ms: Milliseconds of a batch, whatever is in it.
        request_ms: Milliseconds of a request beside its batch: HTTP, JSON, tokens, queue.
        token_budget: The most tokens of a batch.
    """

    text_ms: Sequence[tuple[float, float]]
    run_ms: float = 0.0
    request_ms: float = 0.0
    token_budget: int = 512

    def of_text(self, tokens: float) -> float:
        """Return the milliseconds of a text in a full batch, in straight lines between lengths."""
        known = self.text_ms
        if len(known) == 1:
            return known[0][1] * tokens / known[0][0]
        number = min(max(bisect_left(known, (tokens, 0.0)), 1), len(known) - 1)
        (low, from_ms), (high, to_ms) = known[number - 1 : number + 1]
        slope = (to_ms - from_ms) / (high - low)
        return max(from_ms + slope * (tokens - low), known[0][1] * min(1.0, tokens / known[0][0]))

    def of_batch(self, lengths: Sequence[float]) -> float:
        """Return the milliseconds of a batch of texts of these lengths."""
        return self.run_ms + sum(self.of_text(tokens) + self.request_ms for tokens in lengths)

    def per_core(self, tokens: float) -> float:
        """Return the requests of a length that a core answers in a second, in full batches."""
        together = max(1.0, self.token_budget / tokens)
        return 1e3 / (self.of_text(tokens) + self.request_ms + self.run_ms / together)


def of_report(report: Mapping[str, Any], subject: str | None = None) -> tuple[str, ServiceTime]:
    """Return the name of a subject of a benchmark's result, and its times.

    Args:
        report: The result (.json) of `lanner bench`.
        subject: The name of the subject; None for the fastest service, or else Lanner's fastest
            variant.

    Raises:
        BenchmarkError: There is no such subject, or its throughput was not measured.
    """
    rows = [row for row in report.get("subjects", ()) if "throughput" in row]
    if subject is not None:
        rows = [row for row in rows if row["name"] == subject]
    else:
        by_kind = [[row for row in rows if row["kind"] == kind] for kind in _KINDS]
        rows = next(filter(None, by_kind), [])
    if not rows:
        names = ", ".join(row["name"] for row in report.get("subjects", ())) or "none"
        msg = (
            f"the result has no throughput of {subject or 'a subject'}: it has {names}; measure "
            "with 'lanner bench --suites latency,throughput,concurrency'"
        )
        raise BenchmarkError(msg)
    row = max(rows, key=lambda one: one["throughput"]["short"]["texts_per_s"])
    where = "" if row["kind"] == "service" else " in process, without HTTP,"
    return row["name"] + where, _times(row, int(report["threads"]))


def _times(row: Mapping[str, Any], cores: int) -> ServiceTime:
    by_length = {
        float(length): found["texts_per_s"]
        for length, found in row.get("throughput_by_length", {}).items()
    }
    for found in row["throughput"].values() if len(by_length) < 2 else ():
        by_length[found["tokens_per_s"] / found["texts_per_s"]] = found["texts_per_s"]
    text_ms = [(length, cores * 1e3 / rate) for length, rate in sorted(by_length.items())]
    times = ServiceTime(text_ms, token_budget=int(row.get("token_budget") or 512))
    short = row["throughput"]["short"]
    usual = short["tokens_per_s"] / short["texts_per_s"]
    # A short text alone takes the run of a batch and its own time, and gains little from cores.
    alone_ms = row.get("latency_by_length", {}).get(f"{text_ms[0][0]:g}", {}).get("p50")
    run_ms = 0.0 if alone_ms is None else max(0.0, alone_ms - text_ms[0][1])
    callers = [found["texts_per_s"] for found in row.get("concurrency", {}).values()]
    request_ms = 0.0
    if callers:
        request_ms = max(0.0, cores * 1e3 / max(callers) - times.of_text(usual))
    return ServiceTime(text_ms, run_ms, request_ms, times.token_budget)
