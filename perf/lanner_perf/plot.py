"""A report of the variants as a picture: quality against speed, readable in black and white."""

from typing import Any, BinaryIO

from lanner.artifact import BATCH_INDEPENDENT_COSINE
from lanner_perf.checks import MOST_LOST_SPEARMAN

Report = dict[str, Any]
#: By kind or engine; Lanner's are filled.
_MARKERS = {
    "lanner": "s",
    "onnx-file": "P",
    "fastembed": "v",
    "light-embed": "<",
    "embed-anything": ">",
    "ctranslate2": "*",
    "infinity": "X",
    "torch": "o",
    "onnx": "^",
    "openvino": "D",
}
#: Below it is the noise of single precision.
_FLOOR = 1e-7
_SPEARMAN = "Spearman x100"
#: Where the number of a point may stand, in points above it, and how near, in parts of the axis,
#: another may stand there.
_HEIGHTS = (9, -17, 22, -30)
_NEAR = 0.03


def draw_plot(report: Report, file: BinaryIO) -> None:
    """Writes a PNG: over speed, on the left quality, on the right batch independence.

    Args:
        report: What `lanner_perf.variants_report` measured.
        file: Where the PNG goes.
    """
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and only needed here)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415
    from matplotlib.lines import Line2D  # noqa: PLC0415

    subjects = report["subjects"]
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 7), layout="constrained")
    name, values = _quality(subjects)
    _points(left, subjects, values)
    left.set_ylabel(name)
    if name == _SPEARMAN:
        _line(left, values[0] - MOST_LOST_SPEARMAN, f"{MOST_LOST_SPEARMAN} below the checkpoint")
    drift = [1 - row["quality"]["batch_independence_cosine"] for row in subjects]
    _points(right, subjects, [max(value, _FLOOR) for value in drift])
    right.set_yscale("log")
    right.invert_yaxis()  # better is up, as on the left
    right.set_ylabel("how far a vector moves with its batch (1 - smallest cosine)")
    _line(right, 1 - BATCH_INDEPENDENT_COSINE, f"a cosine of {BATCH_INDEPENDENT_COSINE}")
    for axes in (left, right):
        axes.set_xlabel("short texts/s (bar: lowest and highest round)")
        axes.set_xlim(left=0)
        axes.margins(y=0.12)
        axes.grid(color="0.9")
        axes.set_axisbelow(True)
    handles = [
        Line2D([], [], label=_label(n, row), **_style(row)) for n, row in enumerate(subjects)
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, frameon=False)
    machine = report["machine"]
    figure.suptitle(
        f"{report['artifact']} on {machine['cpu']}, {report['threads']} threads, "
        f"{report['created'][:10]}"
    )
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)


def _quality(subjects: list[Report]) -> tuple[str, list[float]]:
    if all("spearman" in row["quality"] for row in subjects):
        return _SPEARMAN, [row["quality"]["spearman"] for row in subjects]
    means = [row["quality"]["cosine_mean"] for row in subjects]
    return "mean cosine to the checkpoint's vectors", means


def _points(axes: Any, subjects: list[Report], values: list[float]) -> None:
    speeds = [row["throughput"]["short"] for row in subjects]
    heights = _heights([speed["texts_per_s"] for speed in speeds])
    for index, (row, speed, value) in enumerate(zip(subjects, speeds, values, strict=True)):
        median, rounds = speed["texts_per_s"], speed["rounds"]
        bar = [[median - min(rounds)], [max(rounds) - median]]
        axes.errorbar(median, value, xerr=bar, elinewidth=1, capsize=3, **_style(row))
        axes.annotate(
            str(index + 1),
            (median, value),
            xytext=(0, heights[index]),
            textcoords="offset points",
            ha="center",
            fontsize=11,
        )


def _heights(speeds: list[float]) -> list[int]:
    """Where the number of each point stands: at the first height with room to its left."""
    heights, taken = [0] * len(speeds), dict.fromkeys(_HEIGHTS, -max(speeds))
    for index in sorted(range(len(speeds)), key=speeds.__getitem__):
        room = {height: speeds[index] - last for height, last in taken.items()}
        free = (height for height in _HEIGHTS if room[height] > _NEAR * max(speeds))
        heights[index] = next(free, max(room, key=room.__getitem__))
        taken[heights[index]] = speeds[index]
    return heights


def _line(axes: Any, value: float, text: str) -> None:
    axes.axhline(value, color="black", linestyle=":", linewidth=1)
    axes.annotate(
        text,
        (0.02, value),
        xycoords=("axes fraction", "data"),
        xytext=(0, 4),
        textcoords="offset points",
    )


def _style(row: Report) -> dict[str, Any]:
    return {
        "marker": _MARKERS[row["kind"] if row["kind"] in _MARKERS else row["engine"]],
        "markersize": 8,
        "linestyle": "none",
        "color": "black",
        "markerfacecolor": "black" if row["kind"] == "lanner" else "white",
    }


def _label(index: int, row: Report) -> str:
    return f"{index + 1}  {row['name']}"
