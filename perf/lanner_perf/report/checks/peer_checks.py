"""Checks of Lanner beside its peers, measured in the same run.

For each figure, Lanner is represented by its best configuration that loses at most
`MOST_LOST_SPEARMAN` against the reference and whose vectors do not depend on the batch. The best
peer is the best of all peers, whatever quality it loses. An ONNX file of another exporter, run in
Lanner's place, belongs to neither side.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.record.figures import Figure, Row, figures, is_lanner, ratio
from lanner_perf.report.checks.check import MOST_LOST_SPEARMAN, Check

Report = Mapping[str, Any]
TORCH = "sentence-transformers torch fp32"
CALLERS = 16
_GUEST = "onnx-file"
#: The explanation of these checks, and of the variants' checks, on a page.
NOTE = (
    "Lanner is represented by its best configuration that stays within 0.2 Spearman of the "
    "reference and whose vectors do not depend on their batch, the peers by the best of all. "
    "Ratios are medians of the rounds' ratios, with the lowest and highest."
)


class _Rule(NamedTuple):
    """A bound on Lanner's best figure divided by that of `than`: torch or the best peer."""

    what: str
    key: str
    bound: float
    is_least: bool
    than: str


_TORCH, _PEER = "torch fp32", "the best peer"
_RULES = (
    _Rule("short texts/s, of torch fp32", "throughput.short", 4.5, True, _TORCH),
    _Rule("mixed texts/s, of torch fp32", "throughput.mixed", 4.0, True, _TORCH),
    _Rule("short texts/s, of the best peer", "throughput.short", 1.7, True, _PEER),
    _Rule("mixed texts/s, of the best peer", "throughput.mixed", 1.3, True, _PEER),
    _Rule("p50 of one text, of torch fp32", "latency.p50", 0.25, False, _TORCH),
    _Rule("p50 of one text, of the best peer", "latency.p50", 1.0, False, _PEER),
)


#: The formats of the checks that a page begins with, by their rules.
FORMS = dict.fromkeys((rule.what for rule in _RULES), "{:.2f}x")


class _Candidate(NamedTuple):
    """A subject with its figures."""

    name: str
    figures: dict[str, Figure]


def peer_checks(report: Report) -> list[Check]:
    """Return the checks of an artifact beside its peers; the first subject is the reference."""
    rows = report["subjects"]
    reference = figures(rows[0])
    lanner = _candidates(row for row in rows if is_lanner(row))
    peers = _candidates(row for row in rows if not is_lanner(row) and row["kind"] != _GUEST)
    sides = {_TORCH: [peer for peer in peers if peer.name == TORCH], _PEER: peers}
    good = [one for one in lanner if _is_good(one.figures, reference)]
    reason = "" if good else _why_none_is_good(lanner, reference)
    checks = [_ratio_check(rule, good, sides[rule.than], reason) for rule in _RULES]
    return [*checks, *_callers_checks(good, reason), _overhead_check(good, reason)]


def _candidates(rows: Iterable[Row]) -> list[_Candidate]:
    return [_Candidate(row["name"], figures(row)) for row in rows]


def _is_good(row: Mapping[str, Figure], reference: Mapping[str, Figure]) -> bool:
    """Return True if a subject keeps its quality and its vectors do not depend on the batch."""
    key, independence = "quality.spearman", row.get("quality.batch_independence_cosine")
    if key not in row or key not in reference:
        return False
    if independence is not None and independence.median < BATCH_INDEPENDENT_COSINE:
        return False
    return bool(reference[key].median - row[key].median <= MOST_LOST_SPEARMAN)


def _best(candidates: list[_Candidate], key: str) -> _Candidate | None:
    """Return the candidate with the best figure; None if no candidate has one."""
    having = [one for one in candidates if key in one.figures]
    if not having:
        return None
    sign = 1 if having[0].figures[key].is_more_better else -1
    return max(having, key=lambda one: sign * one.figures[key].median)


def _why_none_is_good(lanner: list[_Candidate], reference: Mapping[str, Figure]) -> str:
    if not lanner:
        return "no variant of the artifact was measured"
    if "quality.cosine_mean" not in reference:
        return "the quality was not measured"
    if "quality.spearman" not in reference:
        return "choosing a variant that is good enough needs labelled pairs (--pairs)"
    return f"no batch-independent variant is within {MOST_LOST_SPEARMAN} Spearman"


def _ratio_check(
    rule: _Rule, good: list[_Candidate], others: list[_Candidate], reason: str
) -> Check:
    ours, theirs = _best(good, rule.key), _best(others, rule.key)
    if ours is None:
        missing = reason or "Lanner: the figure was not measured"
    elif theirs is None or not (part := ratio(ours.figures[rule.key], theirs.figures[rule.key])):
        missing = f"{rule.than}: the figure was not measured"
    else:
        of = f"{ours.name} / {theirs.name}"
        return Check(rule.what, rule.bound, rule.is_least, part.median, part.rounds, of=of)
    return Check(rule.what, rule.bound, rule.is_least, missing=missing)


def _callers_checks(good: list[_Candidate], reason: str) -> list[Check]:
    """Check many callers of one text each: their speed beside one call, and their slowest calls."""
    rate = Check(f"{CALLERS} callers: texts/s, of short texts/s in one call", 0.65, is_least=True)
    slow = Check(f"{CALLERS} callers: p99, of p50", 2.5, is_least=False)
    key = f"concurrency.{CALLERS}"
    ours = _best(good, "throughput.short")
    if ours is None or f"{key}.texts_per_s" not in ours.figures:
        missing = reason or f"{CALLERS} callers of Lanner's fastest variant were not measured"
        return [replace(check, missing=missing) for check in (rate, slow)]
    bulk = ours.figures["throughput.short"]
    # These rounds are not those of the one call: divide each by its median.
    rates = ratio(ours.figures[f"{key}.texts_per_s"], replace(bulk, rounds=()))
    tails = ratio(ours.figures[f"{key}.p99_ms"], ours.figures[f"{key}.p50_ms"])
    return [_filled(rate, rates, ours.name), _filled(slow, tails, ours.name)]


def _overhead_check(good: list[_Candidate], reason: str) -> Check:
    """Check the time that the layers between tokenizer and engine cost a single caller."""
    check = Check("one caller: ms of the dispatcher over the bare engine", 0.1, is_least=False)
    ours = _best(good, "latency.p50")
    if ours is None or "dispatch.p50" not in ours.figures:
        missing = reason or "the dispatcher of Lanner's fastest variant was not measured"
        return replace(check, missing=missing)
    return _filled(check, ours.figures["dispatch.p50"], ours.name)


def _filled(check: Check, part: Figure | None, of: str) -> Check:
    if part is None:
        return replace(check, missing=f"every call of {of} failed")
    return replace(check, measured=part.median, rounds=part.rounds, of=of)
