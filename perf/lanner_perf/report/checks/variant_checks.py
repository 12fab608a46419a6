"""Checks of the int8 variants, against each other and against ONNX files of other exporters.

A rule is checked if its variant was measured.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.peers.by_hand import FUSED, STOCK
from lanner_perf.report.checks.check import MOST_LOST_SPEARMAN, Check

Report = Mapping[str, Any]
Row = Mapping[str, Any]
FP32, INT8, DYNAMIC = "lanner fp32", "lanner int8", "lanner int8-dynamic"
#: Stands for the first subject of a report.
_REFERENCE = ""


def _lost_spearman(row: Row, reference: Row) -> list[float]:
    return [reference["quality"]["spearman"] - row["quality"]["spearman"]]


def _independence(row: Row) -> list[float]:
    return [row["quality"]["batch_independence_cosine"]]


def _sizes(row: Row, base: Row) -> list[float]:
    return [row["model_bytes"] / base["model_bytes"]]


def _speeds(row: Row, base: Row) -> list[float]:
    sides = (subject["throughput"]["short"]["rounds"] for subject in (row, base))
    return [ours / theirs for ours, theirs in zip(*sides, strict=True)]


def _latencies(row: Row, base: Row) -> list[float]:
    sides = (subject["latency_ms"]["rounds"] for subject in (row, base))
    return [ours[0] / theirs[0] for ours, theirs in zip(*sides, strict=True)]


class _Rule(NamedTuple):
    """A bound on a figure of a variant, or on its ratio to another subject if `of` names two.

    Attributes:
        what: The rule, for people.
        bound: The bound of the figure.
        is_least: True if the figure must be at least the bound, False if at most.
        of: The variant, and the other subject.
        get: Returns the figure of each round from their rows.
    """

    what: str
    bound: float
    is_least: bool
    of: tuple[str, ...]
    get: Callable[..., list[float]]


_RULES = (
    _Rule(
        "int8: Spearman lost against the checkpoint",
        MOST_LOST_SPEARMAN,
        False,
        (INT8, _REFERENCE),
        _lost_spearman,
    ),
    _Rule(
        "int8: cosine of a sentence alone with itself in random batches",
        BATCH_INDEPENDENT_COSINE,
        True,
        (INT8,),
        _independence,
    ),
    _Rule("int8: size, of fp32", 0.27, False, (INT8, FP32), _sizes),
    _Rule("int8: short texts/s, of int8-dynamic", 0.95, True, (INT8, DYNAMIC), _speeds),
    _Rule("int8: p50 of one text, of int8-dynamic", 1.0, False, (INT8, DYNAMIC), _latencies),
    _Rule(f"int8: p50 of one text, of {FUSED}", 1.0, False, (INT8, FUSED), _latencies),
    _Rule(f"int8-dynamic: short texts/s, of {STOCK}", 1.15, True, (DYNAMIC, STOCK), _speeds),
)


def variant_checks(report: Report) -> list[Check]:
    """Check the variants that were measured.

    Args:
        report: A report of `lanner bench`; its first subject is the reference.
    """
    rows = {row["name"]: row for row in report["subjects"]}
    rows[_REFERENCE] = report["subjects"][0]
    return [_check(rule, rows) for rule in _RULES if rule.of[0] in rows]


def _check(rule: _Rule, rows: Mapping[str, Row]) -> Check:
    what, bound, is_least = rule.what, rule.bound, rule.is_least
    if gone := [name for name in rule.of if name not in rows]:
        return Check(what, bound, is_least, missing=f"{gone[0]} was not measured")
    try:
        values = rule.get(*(rows[name] for name in rule.of))
    except KeyError:
        return Check(what, bound, is_least, missing="a suite that it needs was not measured")
    rounds = tuple(values) if len(values) > 1 else ()
    return Check(what, bound, is_least, float(np.median(values)), rounds)
