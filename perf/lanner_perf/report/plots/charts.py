"""The plots of a report of `lanner bench`: black and white, each with a description in words.

A plot whose suite was not measured is left out; so is, within a plot, a subject that lacks it.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.record.figures import figures, is_lanner
from lanner_perf.report.plots.bars import bars, stacked_calls, stacked_starts
from lanner_perf.report.plots.drawing import Chart, Plotted
from lanner_perf.report.plots.lines import curve, lines
from lanner_perf.report.plots.points import independence_points, quality_points

Report = Mapping[str, Any]


def draw_charts(report: Report) -> list[Chart]:
    """Every plot that the report has figures for."""
    subjects = [Plotted(index, row, figures(row)) for index, row in enumerate(report["subjects"])]
    # Every way to a server leads to the same vectors.
    of_report = [draw for draw in _CHARTS if "server" not in report or draw not in _OF_QUALITY]
    drawn = (draw(subjects) for draw in of_report)
    return [chart for chart in drawn if chart is not None]


def _throughput(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"short texts/s": "throughput.short", "mixed texts/s": "throughput.mixed"},
        name="throughput",
        title="Throughput",
        caption="All texts in one call. The thin line is from the lowest to the highest round, the "
        "factor is to the first subject. Lanner is dark.",
    )


def _memory(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"loaded, MB": "memory.loaded_mb", "peak, MB": "memory.peak_mb"},
        name="memory",
        title="Memory",
        caption="Resident memory of each subject's process: loaded, before the first answer, and "
        "the most until all workloads were done. The factor is to the first subject.",
    )


def _latency_by_length(subjects: Sequence[Plotted]) -> Chart | None:
    return lines(
        [curve(one, "latency_by_length", "latency.{}.p50") for one in subjects],
        axes_names=("tokens of the text", "p50, ms"),
        name="latency-by-length",
        title="Latency of one text by its length",
        caption="Median latency of a call with one text. Both axes are logarithmic; lower is "
        "better.",
    )


def _throughput_by_length(subjects: Sequence[Plotted]) -> Chart | None:
    return lines(
        [curve(one, "throughput_by_length", "throughput.{}") for one in subjects],
        axes_names=("tokens of each text", "texts/s"),
        name="throughput-by-length",
        title="Throughput by length",
        caption="Many texts of one length in one call. Both axes are logarithmic; higher is "
        "better.",
    )


def _concurrency(subjects: Sequence[Plotted]) -> Chart | None:
    ways = [one.place for one in subjects if one.row["kind"] == "triton"]
    return lines(
        [
            curve(
                one,
                "concurrency",
                "concurrency.{}.p99_ms",
                "concurrency.{}.texts_per_s",
                # The first way to a server will do: they are many, and near each other.
                is_marked=is_lanner(one.row) and one.place not in ways[1:],
            )
            for one in subjects
        ],
        axes_names=("texts/s", "p99, ms"),
        name="concurrency",
        title="Concurrent callers",
        caption="Each caller sends one text, and the next when it has the answer. A point is a "
        "number of callers, which grows along a line and stands beside points of Lanner. Both axes "
        "are logarithmic; right and low is better.",
    )


def _open_loop(subjects: Sequence[Plotted]) -> Chart | None:
    return lines(
        [curve(one, "open_loop", "open_loop.{}.p99_ms") for one in subjects],
        axes_names=("arrivals/s", "p99, ms"),
        name="open-loop",
        title="Open loop",
        caption="Poisson's arrivals, which wait for nobody; latency counts from the scheduled "
        "arrival. At an arrow the subject could not keep up, and the latency is at least this. "
        "Both axes are logarithmic; lower is better.",
    )


def _of_floor(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"short texts, % of the floor": "of_floor.short", "mixed texts": "of_floor.mixed"},
        name="floor",
        title="How near to the floor",
        caption="Texts/s in parts of what the matrix products alone would allow at the best "
        "precision of this machine. The factor is to the first subject.",
    )


_OF_QUALITY = (quality_points, independence_points)
_CHARTS = (
    _throughput,
    *_OF_QUALITY,
    stacked_calls,
    _latency_by_length,
    _throughput_by_length,
    _concurrency,
    _open_loop,
    _of_floor,
    _memory,
    stacked_starts,
)
