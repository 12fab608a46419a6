"""The plots of a report of `lanner bench`: black and white, each with a description in words.

A plot without a measured suite is left out. Within a plot, a subject without the figure is left
out.
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
    """Draw every plot that the report has figures for."""
    subjects = [Plotted(index, row, figures(row)) for index, row in enumerate(report["subjects"])]
    # All ways to a server return the same vectors.
    of_report = [draw for draw in _CHARTS if "server" not in report or draw not in _OF_QUALITY]
    drawn = (draw(subjects) for draw in of_report)
    return [chart for chart in drawn if chart is not None]


def _throughput(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"short texts/s": "throughput.short", "mixed texts/s": "throughput.mixed"},
        name="throughput",
        title="Throughput",
        caption="All texts in one call. The thin line reaches from the lowest to the highest "
        "round. The factor is the ratio to the first subject. Lanner is dark.",
    )


def _memory(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"loaded, MB": "memory.loaded_mb", "peak, MB": "memory.peak_mb"},
        name="memory",
        title="Memory",
        caption="Resident memory of each subject's process: after loading, before the first "
        "answer, and the peak until all workloads were done. The factor is the ratio to the first "
        "subject.",
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
                # Marks on the first way to a server are enough: the ways are many and close
                # together.
                is_marked=is_lanner(one.row) and one.place not in ways[1:],
            )
            for one in subjects
        ],
        axes_names=("texts/s", "p99, ms"),
        name="concurrency",
        title="Concurrent callers",
        caption="Each caller sends one text, and the next when it has the answer. Each point is a "
        "number of callers, which grows along the line; the points of Lanner show it. Both axes "
        "are logarithmic; right and low is better.",
    )


def _open_loop(subjects: Sequence[Plotted]) -> Chart | None:
    return lines(
        [curve(one, "open_loop", "open_loop.{}.p99_ms") for one in subjects],
        axes_names=("arrivals/s", "p99, ms"),
        name="open-loop",
        title="Open loop",
        caption="Texts arrive as a Poisson process and do not wait for answers; latency counts "
        "from the scheduled arrival. An arrow marks a lower bound: the subject could not keep up. "
        "Both axes are logarithmic; lower is better.",
    )


def _of_floor(subjects: Sequence[Plotted]) -> Chart | None:
    return bars(
        subjects,
        {"short texts, % of the floor": "of_floor.short", "mixed texts": "of_floor.mixed"},
        name="floor",
        title="How near to the floor",
        caption="Texts/s as a percentage of the speed that the matrix products alone would allow "
        "at the fastest precision of this machine. The factor is the ratio to the first subject.",
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
