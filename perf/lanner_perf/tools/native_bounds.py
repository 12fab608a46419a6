"""The bounds of the native engine: what each asks for, what was measured, and whether it holds."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lanner_perf.tools.native_speeds import CTRANSLATE2, FP32, INT8, NATIVE

#: Instruction sets without a product of bytes, which have bounds of their own.
PLAIN = ("avx2", "plain")
#: Texts a second, at least, in multiples of another subject's, by (is plain, workload).
LEAST_RATES = {
    (False, "short"): {INT8: 1.45, CTRANSLATE2: 1.9},
    (False, "mixed"): {INT8: 1.4, CTRANSLATE2: 1.9},
    (True, "short"): {FP32: 2.0, CTRANSLATE2: 1.5},
    (True, "mixed"): {FP32: 2.0, CTRANSLATE2: 1.5},
}
#: The least multiple of ONNX Runtime's int8 with AMX, where that is more.
LEAST_WITH_AMX = 2.0
#: The least share of the limit of the processor's instruction, by (is plain, workload).
LEAST_SHARES = {
    (False, "short"): 0.75,
    (False, "mixed"): 0.65,
    (True, "short"): 0.6,
    (True, "mixed"): 0.55,
}
#: The time of one text in multiples of ONNX Runtime's int8, at most, by is plain.
MOST_OF_ONE_TEXT = {False: 0.6, True: 0.7}
#: The 99th percentile of a latency in multiples of its median, at most.
MOST_P99 = 2.0
#: Texts a second of 16 callers in multiples of those in bulk, at least.
MANY_CALLERS, LEAST_OF_BULK = "16", 0.9
MOST_LOAD_S = 0.15
LEAST_COSINE, LEAST_NEIGHBOURS, MOST_LOST_SPEARMAN = 0.9985, 0.96, 0.08
#: The least cosine of each vector to ONNX Runtime's int8 with the same scales.
LEAST_STATIC_COSINE = 0.999


@dataclass(frozen=True)
class Bound:
    """A bound and the figure it is for.

    Attributes:
        what: The name of the figure.
        measured: The figure.
        bound: The value it must reach, or not exceed.
        is_most: True if the figure must not exceed the bound.
    """

    what: str
    measured: float
    bound: float
    is_most: bool = False

    @property
    def is_kept(self) -> bool:
        """True if the figure keeps the bound."""
        if self.is_most:
            return self.measured <= self.bound
        return self.measured >= self.bound

    def __str__(self) -> str:
        side = "at most" if self.is_most else "at least"
        said = "pass" if self.is_kept else "FAIL"
        return f"{said}  {self.what}: {self.measured:.4g} ({side} {self.bound:g})"

    def to_json(self) -> dict[str, Any]:
        """Return the bound as a record of JSON."""
        side = "at_most" if self.is_most else "at_least"
        figures = {"measured": round(self.measured, 4), side: self.bound}
        return {"what": self.what, **figures, "passed": self.is_kept}


def bounds(measured: Mapping[str, Any]) -> list[Bound]:
    """Return the bounds for the figures that were measured.

    Args:
        measured: The figures of `lanner_perf.tools.native`.
    """
    found = [bound for threads in measured["speeds"] for bound in _speed_bounds(measured, threads)]
    found += _caller_bounds(measured)
    found.append(Bound("seconds to load", measured["load_s"], MOST_LOAD_S, is_most=True))
    return [*found, *_quality_bounds(measured["quality"])]


def _speed_bounds(measured: Mapping[str, Any], threads: str) -> Iterator[Bound]:
    name, by_name = measured["digest"]["instruction_set"], measured["speeds"][threads]
    native, is_plain = by_name[NATIVE], name in PLAIN
    for texts in ("short", "mixed"):
        rate = native[f"{texts}_texts_per_s"]
        for other, asked in LEAST_RATES[is_plain, texts].items():
            least = LEAST_WITH_AMX if (name, other) == ("amx_int8", INT8) else asked
            if other in by_name:
                what = f"{texts} texts, {threads} threads, in multiples of {other}"
                yield Bound(what, rate / by_name[other][f"{texts}_texts_per_s"], least)
        if limit := measured.get("limit_gops", {}).get(name):
            tokens = rate * measured["tokens_a_text"][texts]
            share = tokens * measured["operations_a_token"] / (1e9 * limit * int(threads))
            what = f"{texts} texts, {threads} threads, share of the limit of {name}"
            yield Bound(what, share, LEAST_SHARES[is_plain, texts])
    share = native["one_text_ms"] / by_name[INT8]["one_text_ms"]
    what = f"one text, {threads} threads, p50 in multiples of {INT8}"
    yield Bound(what, share, MOST_OF_ONE_TEXT[is_plain], is_most=True)
    spread = native["one_text_p99_ms"] / native["one_text_ms"]
    what = f"one text, {threads} threads, p99 in multiples of p50"
    yield Bound(what, spread, MOST_P99, is_most=True)


def _caller_bounds(measured: Mapping[str, Any]) -> Iterator[Bound]:
    callers = measured["callers"]
    threads, points = callers["threads"], callers["points"]
    one = points["1"]["texts_per_s"]
    for count in (count for count in points if 1 < int(count) < int(MANY_CALLERS)):
        what = f"{count} callers, {threads} threads, texts/s in multiples of one caller's"
        yield Bound(what, points[count]["texts_per_s"] / one, 1.0)
    many = points[MANY_CALLERS]
    bulk = measured["speeds"][str(threads)][NATIVE]["short_texts_per_s"]
    what = f"{MANY_CALLERS} callers, {threads} threads"
    yield Bound(f"{what}, texts/s in multiples of bulk", many["texts_per_s"] / bulk, LEAST_OF_BULK)
    spread = many["p99_ms"] / many["p50_ms"]
    yield Bound(f"{what}, p99 in multiples of p50", spread, MOST_P99, is_most=True)


def _quality_bounds(quality: Mapping[str, Mapping[str, float]]) -> Iterator[Bound]:
    if not quality:
        return
    scaled, static = quality["native int8, scales per token"], quality["native int8"]
    yield Bound("scales per token, mean cosine to fp32", scaled["cosine_mean"], LEAST_COSINE)
    yield Bound("scales per token, neighbours kept", scaled["neighbours"], LEAST_NEIGHBOURS)
    lost = scaled["lost_spearman"]
    yield Bound("scales per token, Spearman lost", lost, MOST_LOST_SPEARMAN, is_most=True)
    what = "the artifact's scales, lowest cosine to ONNX Runtime's int8"
    yield Bound(what, static["cosine_min_to_onnxruntime"], LEAST_STATIC_COSINE)
