"""The process that measures libraries; its environment may lack Lanner.

It imports only the standard library until it measures.
"""

from __future__ import annotations

import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypedDict

if TYPE_CHECKING:
    from lanner_perf.floor.matmul import Library

THREAD, WORKERS, ONE = "one thread", "a product on each thread", "one product on all threads"


@dataclass(frozen=True)
class Question:
    """The quantities to measure.

    Attributes:
        tokens: Rows of the activations to try.
        matrices: Rows and columns of the weights to try.
        rounds: Rounds of every measure.
        window_s: The seconds of one measure of a round.
        threads: Cores that may be used.
        layout: `WORKERS`, which measures `THREAD` too, or `ONE`.
        done: Libraries and precisions that are measured already.
        read_bytes: Amounts of memory to read, in bytes; empty to skip the measures of memory.
    """

    tokens: Sequence[int]
    matrices: Sequence[Sequence[int]]
    rounds: int
    window_s: float
    threads: int
    layout: str
    done: Sequence[Sequence[str]]
    read_bytes: Sequence[int]


class Rate(TypedDict):
    """The speed of one library's multiplication.

    Attributes:
        precision: The precision of both operands.
        library: The name of its module.
        version: The version of the library.
        layout: `THREAD`, `WORKERS` or `ONE`.
        shape: Rows of the activations, their columns, and columns of the weights, in the fastest
            shape.
        tflop_per_s: Tera-operations a second of all threads together, median of the rounds.
        rounds: The rate of each round.
        spread: The highest round less the lowest, divided by the median.
    """

    precision: str
    library: str
    version: str
    layout: str
    shape: list[int]
    tflop_per_s: float
    rounds: list[float]
    spread: float


class Loop(TypedDict):
    """One loop over memory: the median, each round, and their spread as in `Rate`."""

    gb_per_s: float
    rounds: list[float]
    spread: float


class Bandwidth(TypedDict):
    """The loops of `lanner_perf.floor.bandwidth`.

    Attributes:
        loops: By name.
        array_bytes: The bytes of each array.
        cache_bytes: The bytes of the last level of cache; 0 if unknown.
        library: The library that ran them.
        version: The version of the library.
    """

    loops: dict[str, Loop]
    array_bytes: int
    cache_bytes: int
    library: str
    version: str


@dataclass(frozen=True)
class Answer:
    """The measurement.

    Attributes:
        rates: The rates of every installed library.
        left_out: Each library and precision without a rate, and the reason.
        bandwidth: The bandwidth; None if it was not requested.
        read_gb_per_s: The rate of reading each of `read_bytes`.
    """

    rates: list[Rate]
    left_out: list[tuple[str, str, str]]
    bandwidth: Bandwidth | None
    read_gb_per_s: list[float]


def main() -> None:
    """Read a question as JSON from the arguments, and print the answer as the last line."""
    question = Question(**json.loads(sys.argv[1]))
    rates, left_out = measure_products(question)
    asked = bool(question.read_bytes)
    bandwidth = measure_bandwidth(question) if asked else None
    answer = Answer(rates, left_out, bandwidth, measure_reading(question))
    print("\n" + json.dumps(asdict(answer)))


def measure_products(question: Question) -> tuple[list[Rate], list[tuple[str, str, str]]]:
    """Return the rates of every library in interleaved rounds, and the reasons for missing ones."""
    from lanner_perf.floor.matmul import LIBRARIES  # noqa: PLC0415 (imports numpy)

    done = {tuple(pair) for pair in question.done}
    shapes: dict[Library, tuple[int, int, int]] = {}
    left_out = []
    for library in LIBRARIES:
        if library[:2] in done:
            continue
        try:
            shapes[library] = _best_shape(library, question)
        except Exception as error:  # noqa: BLE001 (the report tells the reason)
            why = " ".join(f"{type(error).__name__}: {error}".split())[:300]
            left_out.append((*library[:2], why))
    measures = [(library, layout) for library in shapes for layout in _products_at_once(question)]
    rounds: dict[tuple[Library, str], list[float]] = {measure: [] for measure in measures}
    for _ in range(question.rounds):
        for library, layout in measures:
            count = _products_at_once(question)[layout]
            rounds[library, layout].append(_rate(library, shapes[library], count, question))
    return [
        {
            "precision": library.precision,
            "library": library.name,
            "version": _version(library.name),
            "layout": layout,
            "shape": list(shapes[library]),
            "tflop_per_s": statistics.median(rounds[library, layout]),
            "rounds": rounds[library, layout],
            "spread": spread(rounds[library, layout]),
        }
        for library, layout in measures
    ], left_out


def _products_at_once(question: Question) -> dict[str, int]:
    if question.layout == ONE:
        return {ONE: 1}
    if question.threads == 1:
        return {THREAD: 1}
    return {THREAD: 1, WORKERS: question.threads}


def _best_shape(library: Library, question: Question) -> tuple[int, int, int]:
    # One product on all threads has as many rows as the products of all threads together.
    factor = question.threads if question.layout == ONE else 1
    count = max(_products_at_once(question).values())
    trial = replace(question, window_s=question.window_s / 2)
    shapes = [(factor * m, k, n) for m in question.tokens for k, n in question.matrices]
    return max(shapes, key=lambda shape: _rate(library, shape, count, trial))


def _rate(library: Library, shape: tuple[int, int, int], count: int, question: Question) -> float:
    """Return the tera-operations a second of that many independent products at once."""
    import numpy as np  # noqa: PLC0415

    from lanner_perf.floor.rates import rate  # noqa: PLC0415

    rows, inner, columns = shape
    generator = np.random.default_rng(0)
    activations = [generator.integers(0, 8, (rows, inner)) for _ in range(count)]
    weights = generator.integers(-4, 4, (inner, columns))
    threads = question.threads if question.layout == ONE else 1
    calls = library.prepare(activations, weights, threads)
    return rate(calls, 2e-12 * rows * inner * columns, question.window_s)


def measure_bandwidth(question: Question) -> Bandwidth:
    """Return the figures of the loops of STREAM, in interleaved rounds."""
    from lanner_perf.floor.bandwidth import (  # noqa: PLC0415
        last_cache_bytes,
        stream_array_bytes,
        stream_loops,
    )
    from lanner_perf.floor.rates import rate  # noqa: PLC0415

    cache_bytes = last_cache_bytes()
    array_bytes = stream_array_bytes(cache_bytes)
    loops = stream_loops(question.threads, array_bytes)
    rounds: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(question.rounds):
        for name, (calls, amount) in loops.items():
            rounds[name].append(rate(calls, amount / 1e9, question.window_s))
    return {
        "loops": {
            name: {"gb_per_s": statistics.median(of), "rounds": of, "spread": spread(of)}
            for name, of in rounds.items()
        },
        "array_bytes": array_bytes,
        "cache_bytes": cache_bytes,
        "library": "torch",
        "version": _version("torch"),
    }


def measure_reading(question: Question) -> list[float]:
    """Return the GB a second of reading each of `read_bytes` repeatedly, medians of the rounds."""
    from lanner_perf.floor.bandwidth import reading  # noqa: PLC0415
    from lanner_perf.floor.rates import rate  # noqa: PLC0415

    rounds: list[Any] = [[] for _ in question.read_bytes]
    for _ in range(question.rounds):
        for index, count in enumerate(question.read_bytes):
            calls, amount = reading(question.threads, count)
            rounds[index].append(rate(calls, amount / 1e9, question.window_s))
    return [statistics.median(of) for of in rounds]


def _version(library: str) -> str:
    # The distribution's version will not do: several distributions contain onnxruntime.
    return str(import_module(library).__version__)


def spread(rounds: Sequence[float]) -> float:
    """Return the spread of the rounds, as a share of their median."""
    return (max(rounds) - min(rounds)) / statistics.median(rounds)
