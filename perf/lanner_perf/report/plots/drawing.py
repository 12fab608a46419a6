"""The common style of the plots: black and white, with labels that do not overlap."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from io import BytesIO
from itertools import pairwise
from typing import Any, NamedTuple

from lanner_perf.record.figures import Figure, is_lanner

Row = Mapping[str, Any]
#: The marker of each kind or engine; those of Lanner are filled.
_MARKERS = {
    "lanner": "s",
    "triton": "o",
    "onnx-file": "P",
    "fastembed": "v",
    "light-embed": "<",
    "ctranslate2": "*",
    "infinity": "X",
    "torch": "o",
    "onnx": "^",
    "openvino": "D",
}
_OTHER_MARKER = "d"
_LINES = ("-", "--", "-.", ":")
#: The possible places of a point's number, in typographic points above the point, and the distance,
#: as a fraction of the axis, within which two numbers may not share a place.
_HEIGHTS = (9, -17, 22, -30)
_NEAR = 0.03


class Chart(NamedTuple):
    """A drawn plot.

    Attributes:
        name: Part of its file's name.
        title: Its heading.
        caption: The caption.
        alt: The description in words.
        png: The picture.
        svg: The picture as a vector graphic.
    """

    name: str
    title: str
    caption: str
    alt: str
    png: bytes
    svg: bytes


class Plotted(NamedTuple):
    """A subject with its number, counted from 0, and its figures."""

    place: int
    row: Row
    figures: dict[str, Figure]

    @property
    def label(self) -> str:
        """Return the subject's number, counted from 1 as in the tables, and its name."""
        return label(self.place, self.row)


@contextmanager
def new_figure(width: float, height: float) -> Iterator[Any]:
    """Yield a figure of matplotlib of that size in inches; names in it are never read as math."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and only needed here)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    # With a fixed salt the same report gives the same bytes.
    with mpl.rc_context({"text.parse_math": False, "svg.hashsalt": "lanner", "font.size": 10}):
        figure = pyplot.figure(figsize=(width, height))
        try:
            yield figure
        finally:
            pyplot.close(figure)


def image(figure: Any, kind: str) -> bytes:
    """Return the figure as "png" or "svg"."""
    file = BytesIO()
    metadata = {"Date": None} if kind == "svg" else {}
    figure.savefig(file, format=kind, dpi=110, metadata=metadata)
    return file.getvalue()


def point_style(row: Row) -> dict[str, Any]:
    """Return the style of a marker without a line."""
    own = row["kind"] if row["kind"] in _MARKERS else "lanner"
    names = (own,) if is_lanner(row) else (row["kind"], row["engine"])
    return {
        "marker": next((_MARKERS[name] for name in names if name in _MARKERS), _OTHER_MARKER),
        "markersize": 8,
        "linestyle": "none",
        "color": "black",
        "markerfacecolor": "black" if is_lanner(row) else "white",
    }


def line_style(index: int, row: Row) -> dict[str, Any]:
    """Return the style of a line with markers: thick and black for Lanner, gray for the others."""
    return {
        **point_style(row),
        "markersize": 6 if is_lanner(row) else 5,
        "linestyle": _LINES[index % len(_LINES)],
        "linewidth": 2 if is_lanner(row) else 1.1,
        "color": "black" if is_lanner(row) else "0.45",
        "zorder": 3 if is_lanner(row) else 2,
    }


def label(index: int, row: Row) -> str:
    """Return the subject's number, counted from 1 as in the tables, and its name."""
    return f"{index + 1}  {row['name']}"


def legend_handles(subjects: Sequence[Row]) -> list[Any]:
    """Return the handles for a legend of all subjects as points."""
    from matplotlib.lines import Line2D  # noqa: PLC0415

    return [
        Line2D([], [], label=label(n, row), **point_style(row)) for n, row in enumerate(subjects)
    ]


def numbered_points(
    axes: Any, subjects: Sequence[Row], speeds: Sequence[Row | None], values: Sequence[float | None]
) -> None:
    """Draw values over throughputs, each point with the number of its subject.

    Args:
        axes: The axes to draw on.
        subjects: All subjects of a report; their order numbers them.
        speeds: The `lanner_perf.record.schema.Throughput` of each; None leaves a subject out.
        values: The value of each; None leaves a subject out.
    """
    shown = [
        (index, row, speed, value)
        for index, (row, speed, value) in enumerate(zip(subjects, speeds, values, strict=True))
        if speed is not None and value is not None
    ]
    heights = _heights([speed["texts_per_s"] for _, _, speed, _ in shown])
    for (index, row, speed, value), height in zip(shown, heights, strict=True):
        median, rounds = speed["texts_per_s"], speed["rounds"]
        bar = [[median - min(rounds)], [max(rounds) - median]]
        axes.errorbar(median, value, xerr=bar, elinewidth=1, capsize=3, **point_style(row))
        axes.annotate(
            str(index + 1),
            (median, value),
            xytext=(0, height),
            textcoords="offset points",
            ha="center",
            fontsize=11,
        )


def _heights(speeds: list[float]) -> list[int]:
    """Return the place of each point's number: the first place with room to its left."""
    heights, taken = [0] * len(speeds), dict.fromkeys(_HEIGHTS, -max(speeds, default=0))
    for index in sorted(range(len(speeds)), key=speeds.__getitem__):
        room = {height: speeds[index] - last for height, last in taken.items()}
        free = (height for height in _HEIGHTS if room[height] > _NEAR * max(speeds))
        heights[index] = next(free, max(room, key=room.__getitem__))
        taken[heights[index]] = speeds[index]
    return heights


def horizontal_line(axes: Any, value: float, text: str) -> None:
    """Draw a dotted line and write its meaning above it."""
    axes.axhline(value, color="black", linestyle=":", linewidth=1)
    axes.annotate(
        text,
        (0.02, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
    )


def label_ends(axes: Any, ends: Sequence[tuple[str, float, float, bool]], gap_points: int) -> None:
    """Write the names to the right of the axes without overlap, each joined to the end of its line.

    Args:
        axes: The axes with their final limits.
        ends: The name and the end of each line, and True for bold.
        gap_points: The distance from one name to the next.
    """
    figure = axes.get_figure()
    figure.canvas.draw()  # the scales become final here
    box, gap = axes.get_window_extent(), gap_points * figure.dpi / 72
    pixels = [float(axes.transData.transform((x, y))[1]) for _, x, y, _ in ends]
    for (name, x, y, is_bold), height in zip(ends, _apart(pixels, gap, box.y1), strict=True):
        axes.annotate(
            name,
            (x, y),
            xytext=(1.03, (height - box.y0) / box.height),
            textcoords="axes fraction",
            va="center",
            fontsize=8.5,
            fontweight="bold" if is_bold else "normal",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": "0.7",
                "linewidth": 0.6,
                "relpos": (0, 0.5),
                "shrinkA": 0,
            },
        )


def _apart(heights: Sequence[float], gap: float, top: float) -> list[float]:
    """Return the heights in their order, at least a gap apart and not above the top.

    Heights that are too close are pushed up in one pass and down in another. Each result keeps the
    gap, and so does their mean, in which no height is far from its origin.
    """
    order = sorted(range(len(heights)), key=heights.__getitem__)
    up, down = list(heights), list(heights)
    for below, index in pairwise(order):
        up[index] = max(up[index], up[below] + gap)
    for above, index in pairwise(reversed(order)):
        down[index] = min(down[index], down[above] - gap)
    moved = [(a + b) / 2 for a, b in zip(up, down, strict=True)]
    for index in reversed(order):
        moved[index] = min(moved[index], top)
        top = moved[index] - gap
    return moved


def extremes(values: Mapping[str, float], form: str) -> str:
    """Return a sentence that names the lowest and the highest value."""
    low, high = min(values, key=values.__getitem__), max(values, key=values.__getitem__)
    return (
        f"The lowest is {values[low]:{form}} of {low}, the highest {values[high]:{form}} of {high}."
    )
