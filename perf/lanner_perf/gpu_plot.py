"""What `lanner_perf.gpu_bench` measured as plots and tables."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner.commands.common import table
from lanner_perf.drawing import image, new_figure


def draw(name: str, figures: Sequence[Mapping[str, Any]], report: Mapping[str, Any]) -> bytes:
    """A PNG: on the left the latency of one text by its length, on the right the rate by batch."""
    with new_figure(12, 5) as figure:
        figure.set_layout_engine("constrained")
        left, right = figure.subplots(1, 2)
        fewest = min(one["batch"] for one in figures)
        lengths = sorted({one["length"] for one in figures})
        middle = lengths[len(lengths) // 2]
        for number, subject in enumerate(dict.fromkeys(one["subject"] for one in figures)):
            own = [one for one in figures if one["subject"] == subject]
            style = {"marker": "os^DvP*"[number % 7], "color": "black", "markerfacecolor": "white"}
            style["linestyle"] = ("-", "--", "-.", ":")[number % 4]
            alone = [(one["length"], one["p50_ms"]) for one in own if one["batch"] == fewest]
            many = [(one["batch"], one["texts_per_s"]) for one in own if one["length"] == middle]
            left.plot(*zip(*alone, strict=True), label=subject, **style)
            right.plot(*zip(*many, strict=True), label=subject, **style)
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_yscale("log")
            axes.grid(color="0.9")
        left.set_xlabel("tokens of a text")
        left.set_ylabel(f"p50 of a batch of {fewest}, ms")
        right.set_xlabel(f"texts of {middle} tokens in a batch")
        right.set_ylabel("texts/s")
        left.legend(frameon=False)
        where = report["gpu"]["name"] if report["gpu"] else report["machine"]["cpu"]
        figure.suptitle(f"{name} of random weights on {where}, {report['created'][:10]}")
        return image(figure, "png")


def shown(report: Mapping[str, Any]) -> str:
    """The figures as tables, and what was left out."""
    parts = []
    header = ("subject", "batch", "tokens", "p50, ms", "p99, ms", "texts/s", "of the peak")
    for name, model in report["models"].items():
        rows = [
            (
                one["subject"],
                one["batch"],
                one["length"],
                f"{one['p50_ms']:.3f}",
                f"{one['p99_ms']:.3f}",
                f"{one['texts_per_s']:,.0f}",
                "" if one["peak_fraction"] is None else f"{one['peak_fraction']:.1%}",
            )
            for one in model["figures"]
        ]
        parts += [name, table([header, *rows]), ""]
    parts += [
        f"left out: {o['subject']} of {o['model']}: {o['reason']}" for o in report["left_out"]
    ]
    return "\n".join(parts)
