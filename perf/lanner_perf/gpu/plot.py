"""Plots and tables of the measurements of `lanner_perf.gpu.bench`."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner.commands.console import table
from lanner_perf.gpu.subjects import subjects_of
from lanner_perf.report.drawing import image, new_figure

Row = Mapping[str, Any]
#: So many shapes that were left out are named; more are counted.
_MOST_NAMED = 4


def draw(name: str, report: Row) -> bytes:
    """A PNG of a model: latency by length; rate, and what part of the peak it is, by batch."""
    from matplotlib.ticker import LogLocator, StrMethodFormatter  # noqa: PLC0415 (slow to import)

    figures = [row for row in report["figures"] if row["model"] == name]
    fewest = min(row["batch"] for row in figures)
    lengths = sorted({row["length"] for row in figures})
    middle = lengths[len(lengths) // 2]
    with new_figure(17, 5) as figure:
        figure.set_layout_engine("constrained")
        left, centre, right = figure.subplots(1, 3)
        for number, subject in enumerate(dict.fromkeys(row["subject"] for row in figures)):
            own = [row for row in figures if row["subject"] == subject]
            style = {"marker": "os^DvP*X"[number % 8], "color": "black", "markerfacecolor": "white"}
            style["linestyle"] = ("-", "--", "-.", ":")[number % 4]
            alone = [row for row in own if row["batch"] == fewest]
            many = [row for row in own if row["length"] == middle]
            _line(left, alone, "length", "p50_ms", label=subject, **style)
            _line(centre, many, "batch", "texts_per_s", **style)
            _line(right, many, "batch", "peak_fraction", **style)
        for axes, name_of_x in ((left, "length"), (centre, "batch"), (right, "batch")):
            axes.set_xscale("log", base=2)
            values = sorted({row[name_of_x] for row in figures})
            axes.set_xticks(values, [str(value) for value in values])
            axes.grid(color="0.9")
        for axes in (left, centre):
            axes.set_yscale("log")
            # By itself it would write formulas.
            axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
            axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
            axes.yaxis.set_minor_formatter(StrMethodFormatter("{x:g}"))
        left.set_xlabel("tokens of a text")
        left.set_ylabel(f"p50 of a batch of {fewest}, ms")
        for axes in (centre, right):
            axes.set_xlabel(f"texts of {middle} tokens in a batch")
        centre.set_ylabel("texts/s")
        right.set_ylabel("part of the peak of matrix products")
        right.set_ylim(bottom=0)
        left.legend(frameon=False)
        created = report["parts"][-1]["created"][:10]
        figure.suptitle(f"{name} of random weights on {_where(report)}, {created}")
        return image(figure, "png")


def _line(axes: Any, rows: Sequence[Row], x: str, y: str, **style: Any) -> None:
    rows = sorted((row for row in rows if row[y] is not None), key=lambda row: row[x])
    axes.plot([row[x] for row in rows], [row[y] for row in rows], **style)


def shown(report: Row) -> str:
    """Return the subjects and machine, the figures as tables, and the omissions."""
    parts = [f"on {_where(report)}", *_environments(report), ""]
    for name in report["models"]:
        figures = [row for row in report["figures"] if row["model"] == name]
        if figures:
            parts += [f"{name}: p50 (p99) in ms, and of the peak", table(_rows(figures)), ""]
    parts += _measured(report)
    parts += _left_out(report)
    return "\n".join(parts)


def _where(report: Row) -> str:
    gpu = report["gpu"]
    return str(gpu["name"] if gpu else report["parts"][-1]["machine"]["cpu"])


def _environments(report: Row) -> list[str]:
    """A line for each, however many parts were measured in it."""
    lines = []
    for part in report["parts"]:
        of_gpu = report["gpu"] or {}
        of_torch = part.get("torch", {})
        named = {
            "driver": of_gpu.get("driver"),
            "its CUDA": of_gpu.get("cuda"),
            **part["versions"],
            "PyTorch's CUDA": of_torch.get("cuda"),
            "cuDNN": of_torch.get("cudnn"),
        }
        lines.append("with " + ", ".join(f"{name} {what}" for name, what in named.items() if what))
        peaks = part.get("peak_flop_per_s", {})
        rates = [f"{name} {rate / 1e12:,.4g}" for name, rate in peaks.items()]
        if rates:
            lines.append(f"at most {', '.join(rates)} TFLOP/s")
        state = {name: what for name, what in part.get("gpu_state_at_the_peak", {}).items() if what}
        if state:
            lines.append("then " + ", ".join(f"{name} {what}" for name, what in state.items()))
    return list(dict.fromkeys(lines))


def _rows(figures: Sequence[Row]) -> list[tuple[str, ...]]:
    subjects = list(dict.fromkeys(row["subject"] for row in figures))
    cells = {(row["length"], row["batch"], row["subject"]): _cell(row) for row in figures}
    shapes = sorted({(row["length"], row["batch"]) for row in figures})
    header = ("tokens", "batch", *subjects)
    rows = [
        (str(length), str(batch), *(cells.get((length, batch, name), "-") for name in subjects))
        for length, batch in shapes
    ]
    return [header, *rows]


def _cell(row: Row) -> str:
    part = "" if row["peak_fraction"] is None else f" {row['peak_fraction']:.1%}"
    return f"{row['p50_ms']:.3f} ({row['p99_ms']:.3f}){part}"


def _measured(report: Row) -> list[str]:
    counts: dict[str, dict[str, int]] = {}
    for row in report["figures"]:
        models = counts.setdefault(row["subject"], {})
        models[row["model"]] = models.get(row["model"], 0) + 1
    known = subjects_of(report["device"])
    return [
        f"measured: {name} ({known[name].what}): "
        + ", ".join(f"{_shapes(count)} of {model}" for model, count in models.items())
        for name, models in counts.items()
    ]


def _left_out(report: Row) -> list[str]:
    """A line a subject and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in report["left_out"]:
        shapes = [f"{batch} x {length}" for batch, length in row["shapes"]]
        count = _shapes(len(shapes)) if len(shapes) > _MOST_NAMED else ", ".join(shapes)
        models = reasons.setdefault((row["subject"], row["reason"]), [])
        models.append(f"{count} of {row['model']}")
    return [
        f"left out: {subject}, {'; '.join(models)}: {reason}"
        for (subject, reason), models in reasons.items()
    ]


def _shapes(count: int) -> str:
    return f"{count} shape{'s' if count > 1 else ''}"
