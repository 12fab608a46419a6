"""Checks of the variants, with the measurements. Nothing fails; the report shows the results.

Both sides of a ratio were measured round by round, one after the other. So it is the median of the
rounds' ratios, beside the lowest and the highest of them.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.peers.fused import FUSED
from lanner_perf.peers.stock import STOCK

Row = dict[str, Any]
MOST_LOST_SPEARMAN = 0.2
FP32, INT8, DYNAMIC = "lanner fp32", "lanner int8", "lanner int8-dynamic"


@dataclass(frozen=True)
class Check:
    """One thing that must hold.

    Attributes:
        what: The rule, for people.
        bound: What `measured` is compared with.
        is_least: Whether it must be at least the bound, or else at most.
        measured: The figure; None where a subject is missing.
        rounds: The figure of each round, where there are several.
        missing: What was not measured.
        of: Which subjects the figure is of, where that was found out.
    """

    what: str
    bound: float
    is_least: bool
    measured: float | None = None
    rounds: tuple[float, ...] = ()
    missing: str = ""
    of: str = ""

    @property
    def holds(self) -> bool | None:
        """None where it was not measured."""
        if self.measured is None:
            return None
        return self.measured >= self.bound if self.is_least else self.measured <= self.bound

    def to_json(self) -> dict[str, Any]:
        """The fields, and whether it holds."""
        return {**asdict(self), "rounds": list(self.rounds), "holds": self.holds}


def variant_checks(report: dict[str, Any]) -> list[Check]:
    """The checks of what `lanner_perf.suites.measure` gives; its first subject is the reference."""
    rows = {row["name"]: row for row in report["subjects"]}
    reference = report["subjects"][0]["name"]

    def check(what: str, bound: float, *, is_least: bool, of: Sequence[str], get: _Get) -> Check:
        gone = [name for name in of if name not in rows]
        if gone:
            return Check(what, bound, is_least, missing=f"{' and '.join(gone)} not measured")
        values = get(*(rows[name] for name in of))
        if not values:
            return Check(what, bound, is_least, missing="there are no labelled pairs")
        rounds = tuple(values) if len(values) > 1 else ()
        return Check(what, bound, is_least, float(np.median(values)), rounds)

    return [
        check(
            "int8: Spearman lost against the checkpoint",
            MOST_LOST_SPEARMAN,
            is_least=False,
            of=(reference, INT8),
            get=_lost_spearman,
        ),
        check(
            "int8: cosine of a sentence alone with itself in random batches",
            BATCH_INDEPENDENT_COSINE,
            is_least=True,
            of=(INT8,),
            get=lambda row: [row["quality"]["batch_independence_cosine"]],
        ),
        check(
            "int8: size, of fp32",
            0.27,
            is_least=False,
            of=(INT8, FP32),
            get=lambda row, base: [row["model_bytes"] / base["model_bytes"]],
        ),
        check(
            "int8: short texts/s, of int8-dynamic",
            0.95,
            is_least=True,
            of=(INT8, DYNAMIC),
            get=_speeds,
        ),
        check(
            "int8-dynamic: short texts/s, of stock quantize_dynamic",
            1.15,
            is_least=True,
            of=(DYNAMIC, STOCK),
            get=_speeds,
        ),
        check(
            "int8: p50 of one text, of dynamic int8 with QAttention",
            1.0,
            is_least=False,
            of=(INT8, FUSED),
            get=_latencies,
        ),
        check(
            "int8: p50 of one text, of int8-dynamic",
            1.0,
            is_least=False,
            of=(INT8, DYNAMIC),
            get=_latencies,
        ),
    ]


_Get = Callable[..., list[float]]


def _lost_spearman(reference: Row, row: Row) -> list[float]:
    if "spearman" not in reference["quality"]:
        return []
    return [reference["quality"]["spearman"] - row["quality"]["spearman"]]


def _speeds(row: Row, base: Row) -> list[float]:
    sides = (subject["throughput"]["short"]["rounds"] for subject in (row, base))
    return [ours / theirs for ours, theirs in zip(*sides, strict=True)]


def _latencies(row: Row, base: Row) -> list[float]:
    sides = (subject["latency_ms"]["rounds"] for subject in (row, base))
    return [ours[0] / theirs[0] for ours, theirs in zip(*sides, strict=True)]
