"""Horizontal bars, one row for each subject."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.record.call_parts import PARTS
from lanner_perf.record.call_tables import callers_text, part_loads
from lanner_perf.record.figures import is_lanner, ratio
from lanner_perf.report.plots.drawing import Chart, Plotted, extremes, image, new_figure

_WIDTH = 11.0
#: The fills of the parts of a bar: gray, hatched, dotted, crossed, black.
_FILLINGS = (("0.75", ""), ("white", "////"), ("white", "...."), ("white", "xxxx"), ("0.25", ""))


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
        widths = {
            part: [
                (1e-3 if name.endswith("_ms") else 1.0) * one.figures[f"cold_start.{name}"].median
                for one in shown
            ]
            for part, name in parts.items()
        }
        totals = _stack(axes, widths)
        _name_bars(axes, shown)
        axes.set_xlabel("seconds, in a fresh process")
        axes.legend(frameon=False, loc="best")
        alt = "Stacked bars of import, load and first answer. " + extremes(
            {one.row["name"]: total for one, total in zip(shown, totals, strict=True)}, ".2f"
        )
        return Chart(
            "cold-start",
            "Cold start",
            "A fresh process until its first answer. Its files are in the page cache.",
            alt,
            image(figure, "png"),
            image(figure, "svg"),
        )


def stacked_calls(subjects: Sequence[Plotted]) -> Chart | None:
    """Draw the parts of a mean call to a server, for one caller and for many; see `call_parts`."""
    loads = part_loads({"subjects": [one.row for one in subjects]})
    mean = "concurrency.{}.call_ms"
    shown = [one for one in subjects if all(mean.format(load) in one.figures for load in loads)]
    if not loads or not shown:
        return None
    parts = {key: text.partition(":")[0] for key, text in PARTS.items()}
    with new_figure(_WIDTH, 1.5 + 0.3 * len(shown)) as figure:
        figure.set_layout_engine("constrained")
        columns = figure.subplots(1, len(loads), sharey=True, squeeze=False)[0]
        for axes, load in zip(columns, loads, strict=True):
            of_key = {key: _medians(shown, f"concurrency.{load}.{key}") for key in parts}
            calls = _medians(shown, mean.format(load))
            # A subject without these parts runs in process. A negative part is drawn as 0.
            whole = [
                0.0 if f"concurrency.{load}.client_ms" in one.figures else call
                for one, call in zip(shown, calls, strict=True)
            ]
            widths = {label: [max(0.0, ms) for ms in of_key[key]] for key, label in parts.items()}
            _stack(axes, {"in process": whole, **widths} if any(whole) else widths)
            axes.set_xlabel(f"ms of a call, {callers_text(load)}")
        _name_bars(columns[0], shown)
        handles, labels = columns[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=5, frameon=False)
        values = {one.row["name"]: one.figures[mean.format(loads[0])].median for one in shown}
        return Chart(
            "call-parts",
            "Where the time of a call goes",
            "Means, which add up. The table of these parts explains them.",
            f"Stacked bars of the milliseconds of a call: {', '.join(parts.values())}. For "
            f"{callers_text(loads[0])}: {extremes(values, '.2f')}",
            image(figure, "png"),
            image(figure, "svg"),
        )


def _medians(shown: Sequence[Plotted], key: str) -> list[float]:
    return [one.figures[key].median if key in one.figures else 0.0 for one in shown]


def _stack(axes: Any, parts: Mapping[str, Sequence[float]]) -> list[float]:
    """Draw bars of parts, each beginning where the last one ends; write and return their totals."""
    totals = [0.0] * len(next(iter(parts.values())))
    for (part, widths), (colour, hatch) in zip(parts.items(), _FILLINGS, strict=False):
        axes.barh(
            range(len(totals)),
            widths,
            left=totals,
            label=part,
            color=colour,
            edgecolor="black",
            hatch=hatch,
            linewidth=0.8,
        )
        totals = [total + width for total, width in zip(totals, widths, strict=True)]
    for index, total in enumerate(totals):
        axes.annotate(
            f"{total:.2f}",
            (total, index),
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=8.5,
        )
    axes.set_xlim(0, 1.1 * max(totals))
    return totals
