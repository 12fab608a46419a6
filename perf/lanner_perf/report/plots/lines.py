"""Lines over logarithmic axes, one for each subject, each with its name at its end."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from lanner_perf.record.figures import Figure, by_number, is_lanner
from lanner_perf.report.plots.drawing import (
    Chart,
    Plotted,
    extremes,
    image,
    label_ends,
    line_style,
    new_figure,
)

_WIDTH, _HEIGHT = 11.0, 6.2
#: The axes as fractions of the picture; the rest is for the names to the right.
_AXES = (0.07, 0.11, 0.66, 0.86)
_NAME_GAP_POINTS = 12
#: With more values than this on the horizontal axis, not each gets a tick.
_MOST_TICKS = 8


class Point(NamedTuple):
    """The figure of one subject under one load.

    Attributes:
        x: Its place on the horizontal axis.
        y: Its figure; rounds are drawn as a thin bar.
        mark: The text beside it; may be empty.
        is_lower_bound: True to draw an arrow: the true value is at least this.
    """

    x: float
    y: Figure
    mark: str = ""
    is_lower_bound: bool = False


class Curve(NamedTuple):
    """The points of a subject, in the order of the loads."""

    subject: Plotted
    points: list[Point]


def curve(
    subject: Plotted, suite: str, y: str, x: str | None = None, *, is_marked: bool = False
) -> Curve:
    """Return the results of a subject under each load of a suite, within logarithmic axes.

    Args:
        subject: The subject.
        suite: The key of the loads in its row.
        y: The key of the figure, with ``{}`` for the load.
        x: The key of the figure on the horizontal axis; None for the load itself.
        is_marked: True to write the loads beside the points.
    """
    points = []
    loads = subject.row.get(suite, {})
    for load in by_number(loads):
        across = float(load) if x is None else subject.figures[x.format(load)].median
        figure = subject.figures[y.format(load)]
        if across > 0 and figure.median > 0:
            is_bound = loads[load].get("is_cut_short", False)
            points.append(Point(across, figure, load if is_marked else "", is_bound))
    return Curve(subject, points)


def lines(
    curves: Sequence[Curve], *, axes_names: tuple[str, str], name: str, title: str, caption: str
) -> Chart | None:
    """Draw a chart of the curves that have points; return None if no curve has."""
    curves = [one for one in curves if one.points]
    if not curves:
        return None
    with new_figure(_WIDTH, _HEIGHT) as figure:
        axes = figure.add_axes(_AXES)
        for one in curves:
            _draw(axes, one)
        axes.set(xscale="log", yscale="log", xlabel=axes_names[0], ylabel=axes_names[1])
        _plain_ticks(axes, sorted({point.x for one in curves for point in one.points}))
        axes.grid(color="0.92", which="major")
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        ends = [
            (one.subject.label, last.x, last.y.median, is_lanner(one.subject.row))
            for one in curves
            for last in one.points[-1:]
        ]
        label_ends(axes, ends, _NAME_GAP_POINTS)
        values = {one.subject.row["name"]: one.points[-1].y.median for one in curves}
        alt = (
            f"Lines of {axes_names[1]} over {axes_names[0]}. At the end of the lines: "
            f"{extremes(values, ',.1f')}"
        )
        return Chart(name, title, caption, alt, image(figure, "png"), image(figure, "svg"))


def _draw(axes: Any, one: Curve) -> None:
    style = line_style(one.subject.place, one.subject.row)
    axes.plot([point.x for point in one.points], [point.y.median for point in one.points], **style)
    for x, y, mark, is_lower_bound in one.points:
        if len(y.rounds) > 1:
            axes.vlines(x, min(y.rounds), max(y.rounds), color=style["color"], linewidth=0.7)
        beside = {"textcoords": "offset points", "fontsize": 8}
        if mark:
            axes.annotate(mark, (x, y.median), xytext=(5, -10), **beside)
        if is_lower_bound:
            arrow = {"arrowstyle": "<-", "color": style["color"]}
            axes.annotate("", (x, y.median), xytext=(0, 16), arrowprops=arrow, **beside)


def _plain_ticks(axes: Any, xs: Sequence[float]) -> None:
    """Write plain numbers at the ticks, on the horizontal axis those that were measured."""
    from matplotlib.ticker import (  # noqa: PLC0415 (slow to import)
        FixedLocator,
        FuncFormatter,
        LogLocator,
        NullLocator,
    )

    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.10g}"))
        axis.set_minor_locator(NullLocator())
    if len(xs) <= _MOST_TICKS:
        axes.xaxis.set_major_locator(FixedLocator(list(xs)))
