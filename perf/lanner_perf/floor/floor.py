"""The floor: the least time that the matrix products of a model take on this machine.

    python -m lanner_perf.floor.floor build/minilm.lanner [--pairs FILE] [--threads N]

Both sides are measured here. The operations are counted from the artifact's own graph, for the true
lengths of the texts. They are divided by the highest speed that any library reaches in such
products on this machine (`lanner_perf.floor.peaks`). The floor of many texts contains only the
products of linear layers and of attention: no padding, tokenization, softmax, normalization or
copies. The floor of one text is the time of these products or the time to read every weight once,
whichever is longer. From a table of embeddings a text reads only its own rows, so the table is not
counted.

At each precision every product is assumed to run at the peak of that precision. If attention stays
in float32, as in Lanner's int8, the true floor is higher.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import ArrayLike

from lanner.artifact.artifact import Artifact
from lanner.commands.console import steps, table
from lanner.commands.options import positive
from lanner.errors import LannerError, UnsupportedError
from lanner.machine.machine import available_cores, this_machine
from lanner.text.tokenization import Tokenizer
from lanner_perf.floor.operations import Operations, count_operations
from lanner_perf.floor.peaks import FULL, NOISY_SPREAD, PRECISIONS, QUICK, Peaks, measure_peaks
from lanner_perf.subjects.subject import SubjectError
from lanner_perf.subjects.workloads import Workloads, build_workloads

#: A figure by precision; None if no library multiplies at that precision.
ByPrecision = dict[str, float | None]
LATENCY_WORKLOAD = "short"


class Floor(TypedDict):
    """The floor of a model and its workloads, as JSON values.

    Attributes:
        threads: Cores that were used.
        peaks: The peaks of the machine.
        flop_per_text: Operations of a text whatever its length.
        flop_per_token: Operations of a token in linear layers.
        attention_flop_per_token_squared: Operations that grow with the square of a text's tokens.
        weights: The number of weights that the products read.
        flop: Operations of all texts of a workload.
        floors: Texts a second, by workload.
        latency_tokens: Tokens of the text that `latency_floor_ms` is for: the median short text.
        latency_floor_ms: The milliseconds of one such text alone.
    """

    threads: int
    peaks: Peaks
    flop_per_text: int
    flop_per_token: int
    attention_flop_per_token_squared: int
    weights: int
    flop: dict[str, float]
    floors: dict[str, ByPrecision]
    latency_tokens: float
    latency_floor_ms: ByPrecision


class Fraction(TypedDict):
    """The ratio of a figure to the floor; 1 means at the floor.

    Attributes:
        of_best: The ratio to the best floor at any precision: one scale for all subjects.
        of_own: The ratio to the floor of the subject's own precision; None if it has none.
    """

    of_best: float
    of_own: float | None


def measure_floor(
    artifact: Artifact,
    workloads: Workloads,
    *,
    threads: int,
    is_quick: bool = False,
    pythons: Sequence[str] = (sys.executable,),
    progress: Callable[[str], object] = lambda _: None,
) -> Floor:
    """Count the operations, measure the peaks, and divide.

    Args:
        artifact: The artifact; the operations are those of its fp32 graph, or else of its first.
        workloads: The texts.
        threads: Cores that may be used.
        is_quick: True for a rough measure of a few seconds.
        pythons: Interpreters whose libraries are tried; see `measure_peaks`.
        progress: Called when a step begins.

    Raises:
        UnsupportedError: The model multiplies no matrices, or its operations cannot be counted.
        SubjectError: The peaks could not be measured.
    """
    manifest = artifact.manifest
    if manifest.tokenizer.kind == "words" or not manifest.architecture.layers:
        msg = (
            f"{artifact.directory} looks its vectors up in a table: only a model that multiplies "
            "matrices has a floor"
        )
        raise UnsupportedError(msg)
    progress("counting the operations")
    variant = manifest.variant("fp32") or manifest.variants[0]
    operations = count_operations(artifact.file(variant.file))
    tokenizer = Tokenizer(artifact.file(manifest.tokenizer.file), manifest.tokenizer)
    lengths = {
        name: [len(tokens) for tokens in tokenizer.encode(texts)]
        for name, texts in workloads.texts.items()
    }
    peaks = measure_peaks(
        operations.matrices,
        operations.weights,
        threads=threads,
        effort=QUICK if is_quick else FULL,
        pythons=pythons,
        progress=progress,
    )
    return floor_of(operations, lengths, peaks, threads)


def floor_of(
    operations: Operations, lengths: Mapping[str, Sequence[int]], peaks: Peaks, threads: int
) -> Floor:
    """Return the floor of texts of these lengths at these peaks; see `measure_floor`."""
    tokens = float(np.median(lengths[LATENCY_WORKLOAD]))
    return {
        "threads": threads,
        "peaks": peaks,
        "flop_per_text": operations.flop_per_text,
        "flop_per_token": operations.flop_per_token,
        "attention_flop_per_token_squared": operations.flop_per_token_squared,
        "weights": operations.weights,
        "flop": {name: operations.flop(of) for name, of in lengths.items()},
        "floors": {name: _texts_per_s(operations, of, peaks) for name, of in lengths.items()},
        "latency_tokens": tokens,
        "latency_floor_ms": _latency_ms(operations, tokens, peaks),
    }


def throughput_floor(floor: Floor, tokens: int) -> ByPrecision:
    """Return the texts a second if every text has that many tokens."""
    return _texts_per_s(_operations(floor), [tokens], floor["peaks"])


def latency_floor(floor: Floor, tokens: float) -> ByPrecision:
    """Return the milliseconds of one text of that many tokens."""
    return _latency_ms(_operations(floor), tokens, floor["peaks"])


def fractions(row: Mapping[str, Any], floor: Floor) -> dict[str, Any]:
    """Compare all measured figures of a subject of a report with the floor.

    Args:
        row: A subject, as `lanner_perf.suites.measure` reports it.
        floor: The floor of the same workloads.

    Returns:
        A `Fraction` for ``latency`` (p50), and under ``throughput``, ``throughput_by_length`` and
            ``latency_by_length`` one for each workload or number of tokens.
    """
    own = precision_of(row)
    found: dict[str, Any] = {
        "throughput": {
            name: _rate_fraction(figures["texts_per_s"], floor["floors"][name], own)
            for name, figures in row.get("throughput", {}).items()
        },
        "throughput_by_length": {
            tokens: _rate_fraction(
                figures["texts_per_s"], throughput_floor(floor, int(tokens)), own
            )
            for tokens, figures in row.get("throughput_by_length", {}).items()
        },
        "latency_by_length": {
            tokens: _time_fraction(figures["p50"], latency_floor(floor, int(tokens)), own)
            for tokens, figures in row.get("latency_by_length", {}).items()
        },
    }
    if "latency_ms" in row:
        found["latency"] = _time_fraction(row["latency_ms"]["p50"], floor["latency_floor_ms"], own)
    return {name: value for name, value in found.items() if value}


def precision_of(row: Mapping[str, Any]) -> str | None:
    """Return the `PRECISIONS` member of a subject's matrix products; None for any other."""
    # OpenVINO may compute float32 files in bfloat16. It multiplies bytes as bytes.
    names = {"int8": "int8", "bf16": "bf16", "bfloat16": "bf16", "f32": "fp32", "fp32": "fp32"}
    names["float32"] = "fp32"
    words = str(row["precision"]).lower().replace("-", " ").split()
    precision = next((names[word] for word in words if word in names), None)
    if precision == "fp32" and row.get("compute"):
        return names.get(str(row["compute"]))
    return precision


def _rate_fraction(texts_per_s: float, floor: ByPrecision, own: str | None) -> Fraction:
    best = max(rate for rate in floor.values() if rate is not None)
    of_own = None if own is None else floor[own]
    return {
        "of_best": texts_per_s / best,
        "of_own": None if of_own is None else texts_per_s / of_own,
    }


def _time_fraction(milliseconds: float, floor: ByPrecision, own: str | None) -> Fraction:
    best = min(time for time in floor.values() if time is not None)
    of_own = None if own is None else floor[own]
    return {
        "of_best": best / milliseconds,
        "of_own": None if of_own is None else of_own / milliseconds,
    }


def _operations(floor: Floor) -> Operations:
    return Operations(
        floor["flop_per_text"],
        floor["flop_per_token"],
        floor["attention_flop_per_token_squared"],
        floor["weights"],
        (),
    )


def _texts_per_s(operations: Operations, lengths: Sequence[int], peaks: Peaks) -> ByPrecision:
    seconds = _product_seconds(operations, lengths, peaks)
    return {name: None if of is None else len(lengths) / of for name, of in seconds.items()}


def _latency_ms(operations: Operations, tokens: float, peaks: Peaks) -> ByPrecision:
    found: ByPrecision = {}
    for name, seconds in _product_seconds(operations, [tokens], peaks).items():
        read_bytes = operations.weights * PRECISIONS[name]
        reading = read_bytes / (1e9 * peaks["weights_gb_per_s"][name])
        found[name] = None if seconds is None else 1e3 * max(seconds, reading)
    return found


def _product_seconds(operations: Operations, lengths: ArrayLike, peaks: Peaks) -> ByPrecision:
    of = {"fp32": peaks["fp32"], "bf16": peaks["bf16"], "int8": peaks["int8"]}
    flop = operations.flop(lengths)
    return {
        name: None if peak is None else flop / (1e12 * peak["tflop_per_s"])
        for name, peak in of.items()
    }


def summary_rows(floor: Floor) -> list[tuple[str, ...]]:
    """Return a table of the floor with a column for each precision; the first row is its header."""
    peaks = floor["peaks"]
    columns = {"fp32": peaks["fp32"], "bf16": peaks["bf16"], "int8": peaks["int8"]}
    found = {name: peak for name, peak in columns.items() if peak is not None}
    rows: list[tuple[str, ...]] = [("", *found)]
    rows.append(("peak, TFLOP/s", *(f"{p['tflop_per_s']:.3f}" for p in found.values())))
    rows.append(("  one thread", *(f"{p['tflop_per_s_one_thread']:.3f}" for p in found.values())))
    rows.append(("  spread of the rounds", *(f"{p['spread']:.0%}" for p in found.values())))
    rows.append(("  library", *(f"{p['library']} {p['version']}" for p in found.values())))
    rows.append(("  shape", *("x".join(map(str, p["shape"])) for p in found.values())))
    rows.append(("  layout", *(p["layout"] for p in found.values())))
    weights = peaks["weights_gb_per_s"]
    rows.append(("reading the weights, GB/s", *(f"{weights[name]:.1f}" for name in found)))
    for name, of in floor["floors"].items():
        rows.append((f"{name}, texts/s at most", *(f"{of[name] or 0:,.0f}" for name in found)))
    latency = floor["latency_floor_ms"]
    tokens = f"one text of {floor['latency_tokens']:g} tokens, ms at least"
    rows.append((tokens, *(f"{latency[name] or 0:.3f}" for name in found)))
    return rows


def summary(floor: Floor) -> str:
    """Return the floor as tables, with a warning if the rounds are far apart."""
    peaks = floor["peaks"]
    bandwidth = peaks["bandwidth"]
    loops = ", ".join(f"{n} {loop['gb_per_s']:.1f}" for n, loop in bandwidth["loops"].items())
    memory = (
        f"memory, GB/s: {loops} (arrays of {bandwidth['array_bytes'] / 1e6:,.0f} MB, caches of "
        f"{bandwidth['cache_bytes'] / 1e6:,.0f} MB)"
    )
    work = (
        f"operations: {floor['flop_per_token']:,} a token, "
        f"{floor['attention_flop_per_token_squared']:,} a token squared, "
        f"{floor['flop_per_text']:,} a text; {floor['weights']:,} weights"
    )
    lines = [table(summary_rows(floor)), "", memory, work]
    if noise := noisy(floor):
        lines += ["", noise]
    return "\n".join(lines)


def noisy(floor: Floor) -> str:
    """Return a warning if the machine was busy, so that the true peak may be higher, or ""."""
    peaks = floor["peaks"]
    found = [peak for peak in (peaks["fp32"], peaks["bf16"], peaks["int8"]) if peak is not None]
    spreads = [peak["spread"] for peak in found]
    spreads += [loop["spread"] for loop in peaks["bandwidth"]["loops"].values()]
    if max(spreads) <= NOISY_SPREAD:
        return ""
    return (
        f"The rounds of the peaks are up to {max(spreads):.0%} of their median apart: the machine "
        "was busy, and its true peak may be higher."
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.floor.floor", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score")
    parser.add_argument("--threads", type=positive, default=available_cores())
    parser.add_argument("--quick", action="store_true", help="measure roughly, in a few seconds")
    parser.add_argument(
        "--python",
        action="append",
        default=[],
        metavar="FILE",
        help="another interpreter whose libraries are tried too; may be repeated",
    )
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    args = parser.parse_args()
    try:
        artifact = Artifact.open(args.artifact)
        with steps() as begin:
            floor = measure_floor(
                artifact,
                build_workloads(args.pairs),
                threads=args.threads,
                is_quick=args.quick,
                pythons=[sys.executable, *args.python],
                progress=begin,
            )
    except (LannerError, SubjectError, OSError) as error:
        sys.stderr.write(f"lanner_perf.floor.floor: error: {error}\n")
        return 1
    if args.json:
        print(json.dumps(floor, indent=2, allow_nan=False))
    else:
        where = f"{this_machine().cpu}, {args.threads} threads"
        print(f"{artifact.manifest.name} on {where}\n\n{summary(floor)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
