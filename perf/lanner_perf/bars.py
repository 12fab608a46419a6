"""Horizontal bars, a row a subject."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.drawing import Chart, Plotted, extremes, image, new_figure
from lanner_perf.figures import is_lanner, ratio

_WIDTH = 11.0
_HATCHES = ("", "////", "....")


def bars(
    subjects: Sequence[Plotted],
    panels: Mapping[str, str],
    *,
    name: str,
    title: str,
    caption: str,
) -> Chart | None:
    shown = [one for one in subjects if any(key in one.figures for key in panels.values())]
    if not shown:
        return None
    with new_figure(_WIDTH, 1.0 + 0.32 * len(shown)) as figure:
        figure.set_layout_engine("constrained")
        columns = figure.subplots(1, len(panels), sharey=True)
        for axes, (panel, key) in zip(columns, panels.items(), strict=True):
            _bar_panel(axes, subjects[0], shown, key)
            axes.set_xlabel(panel)
        _name_bars(columns[0], shown)
        key = next(iter(panels.values()))
        values = {one.row["name"]: one.figures[key].median for one in shown if key in one.figures}
        alt = f"Bars of {' and '.join(panels)}. {extremes(values, ',.0f')}"
        return Chart(name, title, caption, alt, image(figure, "png"), image(figure, "svg"))


def _bar_panel(axes: Any, reference: Plotted, shown: Sequence[Plotted], key: str) -> None:
    longest = 0.0
    for place, one in enumerate(shown):
        if key not in one.figures:
            continue
        figure = one.figures[key]
        highest = max((figure.median, *figure.rounds))
        low = figure.median - min((figure.median, *figure.rounds))
        axes.barh(
            place,
            figure.median,
            xerr=[[low], [highest - figure.median]] if len(figure.rounds) > 1 else None,
            color="0.25" if is_lanner(one.row) else "0.88",
            edgecolor="black",
            linewidth=0.8,
            error_kw={"elinewidth": 1.2, "capsize": 2.5, "ecolor": "0.55"},
        )
        part = ratio(figure, reference.figures[key]) if key in reference.figures else None
        axes.annotate(
            figure.text + (f"  {part.text}x" if part else ""),
            (highest, place),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
        longest = max(longest, highest)
    axes.set_xlim(0, 1.38 * longest or 1)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.tick_params(axis="y", length=0)
    axes.spines[["top", "right"]].set_visible(False)


def _name_bars(axes: Any, shown: Sequence[Plotted]) -> None:
    axes.set_yticks(range(len(shown)), [one.label for one in shown])
    axes.tick_params(axis="y", length=0, labelsize=9)
    axes.set_ylim(len(shown) - 0.4, -0.6)  # the first on top
    axes.spines[["top", "right"]].set_visible(False)


def stacked_starts(subjects: Sequence[Plotted]) -> Chart | None:
    parts = {"import": "import_s", "load": "load_s", "first answer": "first_answer_ms"}
    shown = [one for one in subjects if "cold_start.load_s" in one.figures]
    if not shown:
        return None
    with new_figure(_WIDTH, 1.3 + 0.3 * len(shown)) as figure:
        figure.set_layout_engine("constrained")
        axes = figure.subplots()
        starts = [0.0] * len(shown)
        for (part, name), hatch in zip(parts.items(), _HATCHES, strict=True):
            scale = 1e-3 if name.endswith("_ms") else 1.0
            widths = [scale * one.figures[f"cold_start.{name}"].median for one in shown]
            colour = "0.75" if not hatch else "white"
            axes.barh(
                range(len(shown)),
                widths,
                left=starts,
                label=part,
                color=colour,
                edgecolor="black",
                hatch=hatch,
                linewidth=0.8,
            )
            starts = [start + width for start, width in zip(starts, widths, strict=True)]
        for index, total in enumerate(starts):
            axes.annotate(
                f"{total:.2f}",
                (total, index),
                xytext=(4, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
            )
        _name_bars(axes, shown)
        axes.set_xlabel("seconds, in a fresh process")
        axes.set_xlim(0, 1.1 * max(starts))
        axes.legend(frameon=False, loc="best")
        alt = "Stacked bars of import, load and first answer. " + extremes(
            {one.row["name"]: total for one, total in zip(shown, starts, strict=True)}, ".2f"
        )
        return Chart(
            "cold-start",
            "Cold start",
            "A fresh process until its first answer; its files are in the page cache.",
            alt,
            image(figure, "png"),
            image(figure, "svg"),
        )
