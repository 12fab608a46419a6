"""A report of the variants as a picture: quality against speed, readable in black and white."""

from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.report.checks import MOST_LOST_SPEARMAN
from lanner_perf.report.drawing import (
    horizontal_line,
    image,
    legend_handles,
    new_figure,
    numbered_points,
)

Report = Mapping[str, Any]
#: Below it is the noise of single precision.
_FLOOR = 1e-7
_SPEARMAN = "Spearman x100"


def draw_plot(report: Report, file: BinaryIO) -> None:
    """Write a PNG: over speed, on the left quality, on the right batch independence.

    Args:
        report: What `lanner_perf.variants.variants_report` measured.
        file: Where the PNG goes.
    """
    subjects = report["subjects"]
    with new_figure(13, 7) as figure:
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        draw_quality(left, subjects)
        drift = [1 - row["quality"]["batch_independence_cosine"] for row in subjects]
        speeds = [row["throughput"]["short"] for row in subjects]
        numbered_points(right, subjects, speeds, [max(value, _FLOOR) for value in drift])
        right.set_yscale("log")
        right.invert_yaxis()  # better is up, as on the left
        right.set_ylabel("how far a vector moves with its batch (1 - smallest cosine)")
        horizontal_line(
            right, 1 - BATCH_INDEPENDENT_COSINE, f"a cosine of {BATCH_INDEPENDENT_COSINE}"
        )
        _finish(right)
        handles = legend_handles(subjects)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        machine = report["machine"]
        figure.suptitle(
            f"{report['artifact']} on {machine['cpu']}, {report['threads']} threads, "
            f"{report['created'][:10]}"
        )
        file.write(image(figure, "png"))


def draw_quality(axes: Any, subjects: Sequence[Report]) -> None:
    """Quality over short texts a second; a subject that lacks one of the two is left out."""
    name, values = _quality(subjects)
    speeds = [row.get("throughput", {}).get("short") for row in subjects]
    numbered_points(axes, subjects, speeds, values)
    axes.set_ylabel(name)
    reference = values[0]
    if name == _SPEARMAN and reference is not None:
        text = f"{MOST_LOST_SPEARMAN} below the checkpoint"
        horizontal_line(axes, reference - MOST_LOST_SPEARMAN, text)
    _finish(axes)


def _finish(axes: Any) -> None:
    axes.set_xlabel("short texts/s (bar: lowest and highest round)")
    axes.set_xlim(left=0)
    axes.margins(y=0.12)
    axes.grid(color="0.9")
    axes.set_axisbelow(True)


def _quality(subjects: Sequence[Report]) -> tuple[str, list[float | None]]:
    qualities = [row.get("quality", {}) for row in subjects]
    if any("spearman" in quality for quality in qualities):
        return _SPEARMAN, [quality.get("spearman") for quality in qualities]
    means = [quality.get("cosine_mean") for quality in qualities]
    return "mean cosine to the checkpoint's vectors", means
