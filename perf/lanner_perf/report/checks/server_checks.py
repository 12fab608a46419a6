"""Checks of a model on a server, against the same model in process and a hand-written repository.

The bounds are for all-MiniLM-L6-v2 on two cores, which servers and clients share.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.record.figures import Figure, figures, ratio
from lanner_perf.report.checks.check import Check

Report = Mapping[str, Any]
NOTE = (
    "The bounds are for all-MiniLM-L6-v2 on two cores, which servers and clients share. "
    "Differences and ratios are medians over the rounds, with the lowest and highest."
)
_SERVED, _BY_HAND = "triton", "triton-plain"
_HERE, _HAND = "in process", "the repository by hand"


class _Rule(NamedTuple):
    """A bound on a figure of the client beside that of `than`; `form` is its headline format."""

    what: str
    key: str
    than: str
    bound: float
    is_least: bool
    form: str


_RATIO, _DIFFERENCE = "{:.2f}x", "{:+.2f} ms"
_RULES = (
    _Rule(f"one text: p50 ms beyond {_HERE}", "latency.p50", _HERE, 1.5, False, _DIFFERENCE),
    _Rule(f"one call: texts/s, of {_HERE}", "throughput.short", _HERE, 0.7, True, _RATIO),
    _Rule(
        f"16 callers: texts/s, of {_HAND}", "concurrency.16.texts_per_s", _HAND, 2.0, True, _RATIO
    ),
    _Rule(f"16 callers: p50, of {_HAND}", "concurrency.16.p50_ms", _HAND, 1.0, False, _RATIO),
)
#: The formats of the checks that a page begins with, by their rules.
FORMS = {rule.what: rule.form for rule in _RULES}


def server_checks(report: Report) -> list[Check]:
    """Return the checks of a server's report, and of the hand-written repository if it has one."""
    rows = report["subjects"]
    ours = next((row for row in rows if row["kind"] == _SERVED), None)
    others = {
        _HERE: rows[0] if rows[0]["kind"] not in (_SERVED, _BY_HAND) else None,
        _HAND: next((row for row in rows if row["kind"] == _BY_HAND), None),
    }
    checks = [
        _beside(rule, ours, others[rule.than])
        for rule in _RULES
        if rule.than == _HERE or others[rule.than]
    ]
    if others[_HAND]:
        checks.append(_batch(ours))
    checks.append(_alike(report, has_base=others[_HERE] is not None))
    return checks


def _beside(rule: _Rule, ours: Report | None, other: Report | None) -> Check:
    mine, base = (None if row is None else figures(row).get(rule.key) for row in (ours, other))
    if ours is None or mine is None:
        missing = "on the server: the figure was not measured"
    elif other is None or base is None:
        missing = f"{rule.than}: the figure was not measured"
    elif not (part := _difference(mine, base) if rule.form == _DIFFERENCE else ratio(mine, base)):
        missing = f"{rule.than}: the figure is zero"
    else:
        of = f"{ours['name']} / {other['name']}"
        return Check(rule.what, rule.bound, rule.is_least, part.median, part.rounds, of=of)
    return Check(rule.what, rule.bound, rule.is_least, missing=missing)


def _difference(figure: Figure, base: Figure) -> Figure:
    rounds = tuple(a - b for a, b in zip(figure.rounds, base.rounds, strict=False))
    median = float(np.median(rounds)) if rounds else figure.median - base.median
    return Figure(figure.label, median, rounds, figure.form, figure.is_more_better)


def _batch(ours: Report | None) -> Check:
    """Check the texts in one run of the model, over all calls."""
    check = Check("16 callers: texts of a run of the model", 4.0, is_least=True)
    figure = None if ours is None else figures(ours).get("concurrency.16.texts_per_run")
    if ours is None or figure is None:
        return replace(check, missing="on the server: the figure was not measured")
    return replace(check, measured=figure.median, rounds=figure.rounds, of=ours["name"])


def _alike(report: Report, *, has_base: bool) -> Check:
    """Check that every way to the server gives the same answers as the variant in process."""
    what, key = f"smallest cosine of a text with itself {_HERE}", "quality.cosine_min"
    check = Check(what, BATCH_INDEPENDENT_COSINE, is_least=True)
    found = {
        row["name"]: figures(row)[key].median
        for row in report["subjects"]
        if row["kind"] == _SERVED and key in figures(row)
    }
    if not has_base or not found:
        missing = f"{_HERE if found else 'on the server'}: the figure was not measured"
        return replace(check, missing=missing)
    worst = min(found, key=found.__getitem__)
    return replace(check, measured=found[worst], of=worst)
