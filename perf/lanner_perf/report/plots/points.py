"""Subjects as numbered points over their throughput, readable in black and white."""

from collections.abc import Sequence
from typing import Any

from lanner.artifact.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.report.checks.check import MOST_LOST_SPEARMAN
from lanner_perf.report.plots.drawing import (
    Chart,
    Plotted,
    horizontal_line,
    image,
    legend_handles,
    new_figure,
    numbered_points,
)

_SPEARMAN, _MEAN = "quality.spearman", "quality.cosine_mean"
_INDEPENDENCE = "quality.batch_independence_cosine"
#: Smaller distances are the rounding noise of float32.
_LEAST_DRIFT = 1e-7


def quality_points(subjects: Sequence[Plotted]) -> Chart | None:
    """Draw Spearman over short texts a second; without labelled pairs the mean cosine."""
    key = _SPEARMAN if any(_SPEARMAN in one.figures for one in subjects) else _MEAN
    values = _values(subjects, key)
    reference = values[0] if values else None

    def finish(axes: Any) -> None:
        spearman = "Spearman x100"
        axes.set_ylabel(spearman if key == _SPEARMAN else "mean cosine to the checkpoint's vectors")
        if key == _SPEARMAN and reference is not None:
            text = f"{MOST_LOST_SPEARMAN} below the checkpoint"
            horizontal_line(axes, reference - MOST_LOST_SPEARMAN, text)

    return _points(
        subjects,
        values,
        finish,
        name="quality",
        title="Quality against speed",
        caption="The number is the subject's. Right and high is better.",
    )


def independence_points(subjects: Sequence[Plotted]) -> Chart | None:
    """Draw how far a vector moves with its batch, over short texts a second."""
    cosines = _values(subjects, _INDEPENDENCE)
    drifts = [None if one is None else max(1 - one, _LEAST_DRIFT) for one in cosines]

    def finish(axes: Any) -> None:
        axes.set_yscale("log")
        axes.yaxis.set_major_formatter("{x:g}")  # the default formatter writes formulas
        axes.invert_yaxis()  # better is up, as for quality
        axes.set_ylabel("1 - smallest cosine")
        text = f"a cosine of {BATCH_INDEPENDENT_COSINE}"
        horizontal_line(axes, 1 - BATCH_INDEPENDENT_COSINE, text)

    return _points(
        subjects,
        drifts,
        finish,
        name="independence",
        title="How far a vector moves with its batch",
        caption="The smallest cosine between a sentence alone and the same sentence in random "
        "batches. The number is the subject's. Right and high is better.",
    )


def _values(subjects: Sequence[Plotted], key: str) -> list[float | None]:
    return [one.figures[key].median if key in one.figures else None for one in subjects]


def _points(
    subjects: Sequence[Plotted],
    values: Sequence[float | None],
    finish: Any,
    *,
    name: str,
    title: str,
    caption: str,
) -> Chart | None:
    """Draw a chart of the subjects that have a speed and a value; return None without any."""
    rows = [one.row for one in subjects]
    speeds = [row.get("throughput", {}).get("short") for row in rows]
    if all(None in pair for pair in zip(speeds, values, strict=True)):
        return None
    with new_figure(11, 6.5) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        numbered_points(axes, rows, speeds, values)
        finish(axes)
        axes.set_xlabel("short texts/s (bar: lowest and highest round)")
        axes.set_xlim(left=0)
        axes.margins(y=0.12)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
        handles = legend_handles(rows)
        figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
        alt = f"Points of {len(rows)} subjects, {name} over short texts/s. The table has both."
        return Chart(name, title, caption, alt, image(figure, "png"), image(figure, "svg"))
