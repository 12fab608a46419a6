"""A report of `lanner_perf.gpu.bench` as a page, with its plots."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.gpu.subjects import subjects_of
from lanner_perf.record.figures import Figure
from lanner_perf.record.tables import Cell, Table
from lanner_perf.report.page import Page
from lanner_perf.report.plots.drawing import Chart, Plotted
from lanner_perf.report.plots.lines import Curve, Point, lines

Report = Mapping[str, Any]
Row = Mapping[str, Any]
#: The most left-out shapes to name; of more only the number is given.
_MOST_NAMED = 4
_TOKENS, _BATCH = "tokens of a text", "texts in a batch"


def gpu_page(report: Report) -> Page:
    """Return the page of a report: a table for each model, and the conditions of each part."""
    part = report["parts"][-1]
    gpu = report["gpu"]
    where = gpu["name"] if gpu else part["machine"]["cpu"]
    names = [name for name in report["models"] if _figures(report, name)]
    return Page(
        title=f"{where}: engines beside each other",
        lead=f"{part['created'][:10]}. Models of random weights, one batch after the other.",
        headlines=[],
        tables=[*(_table(report, name) for name in names), _measured(report)],
        details=[],
        conditions=_conditions(report),
        versions=_versions(report),
        left_out=_left_out(report),
    )


def gpu_charts(report: Report) -> list[Chart]:
    """Draw three plots for each model: latency by length, speed by batch, share of the peak."""
    drawn = []
    for name in dict.fromkeys(row["model"] for row in report["figures"]):
        rows = _figures(report, name)
        fewest = min(row["batch"] for row in rows)
        lengths = sorted({row["length"] for row in rows})
        middle = lengths[len(lengths) // 2]
        alone = [row for row in rows if row["batch"] == fewest]
        many = [row for row in rows if row["length"] == middle]
        of_middle = f"Batches of texts of {middle} tokens."
        for key, label, title, caption, shown, x in (
            ("p50_ms", "p50, ms", "latency by length", f"Batches of {fewest}.", alone, "length"),
            ("texts_per_s", "texts/s", "rate by batch", of_middle, many, "batch"),
            ("peak_fraction", "share of the peak", "share of the peak", of_middle, many, "batch"),
        ):
            drawn.append(
                lines(
                    _curves(shown, x, key, label),
                    axes_names=(_TOKENS if x == "length" else _BATCH, label),
                    name=f"{name}-{key.removesuffix('_ms').replace('_', '-')}",
                    title=f"{name}: {title}",
                    caption=f"{caption} Both axes are logarithmic.",
                )
            )
    return [chart for chart in drawn if chart is not None]


def _figures(report: Report, name: str) -> list[Row]:
    return [row for row in report["figures"] if row["model"] == name]


def _curves(rows: Sequence[Row], x: str, key: str, label: str) -> list[Curve]:
    curves = []
    for place, subject in enumerate(dict.fromkeys(row["subject"] for row in rows)):
        own = sorted((row for row in rows if row["subject"] == subject), key=lambda row: row[x])
        # Lanner's engines are compared with PyTorch.
        kind = "torch" if subject.startswith("torch") else "lanner"
        plotted = Plotted(place, {"name": subject, "kind": kind, "engine": kind}, {})
        points = [
            Point(row[x], Figure(label, row[key], (), ",.3f", key != "p50_ms"))
            for row in own
            if row[key]
        ]
        curves.append(Curve(plotted, points))
    return curves


def _table(report: Report, name: str) -> Table:
    figures = _figures(report, name)
    subjects = list(dict.fromkeys(row["subject"] for row in figures))
    cells = {(row["length"], row["batch"], row["subject"]): _cell(row) for row in figures}
    rows = [
        [
            Cell(f"{length} x {batch}"),
            *(cells.get((length, batch, subject), Cell("-")) for subject in subjects),
        ]
        for length, batch in sorted({(row["length"], row["batch"]) for row in figures})
    ]
    note = "Each row is named by the tokens of a text x the texts in a batch."
    return Table(f"{name}: p50 in ms", note, ["", *subjects], rows)


def _cell(row: Row) -> Cell:
    part = "" if row["peak_fraction"] is None else f"{row['peak_fraction']:.1%} of the peak"
    return Cell(f"{row['p50_ms']:.3f}", f"p99 {row['p99_ms']:.3f}", part)


def _measured(report: Report) -> Table:
    """Return the table of the subjects, with the number of shapes of each model that they ran."""
    known = subjects_of(report["device"])
    counts: dict[str, dict[str, int]] = {}
    for row in report["figures"]:
        models = counts.setdefault(row["subject"], {})
        models[row["model"]] = models.get(row["model"], 0) + 1
    rows = [
        [
            Cell(name),
            Cell(known[name].what),
            Cell(", ".join(f"{_shapes(count)} of {model}" for model, count in models.items())),
        ]
        for name, models in counts.items()
    ]
    return Table("What ran", "", ["", "what it is", "measured"], rows)


def _conditions(report: Report) -> dict[str, str]:
    found = {"Timed": report["timed"], "Inputs": report["inputs"], "The peak": report["peak"]}
    for number, part in enumerate(report["parts"], start=1):
        peaks = part.get("peak_flop_per_s", {})
        state = part.get("gpu_state_at_the_peak", {})
        told = [
            part["command"],
            part["created"],
            f"{part['whole_s'] / 60:.1f} minutes",
            *(f"{name} at most {rate / 1e12:,.4g} TFLOP/s" for name, rate in peaks.items()),
            *(f"{name} {what} then" for name, what in state.items() if what),
        ]
        found[f"Part {number}"] = ", ".join(told)
    return found


def _versions(report: Report) -> Table:
    """Return the table of versions, with a column for each part."""
    gpu = report["gpu"] or {}
    columns = []
    for part in report["parts"]:
        of_torch = part.get("torch", {})
        named = {
            "driver": gpu.get("driver"),
            "its CUDA": gpu.get("cuda"),
            "lanner": part["lanner"],
            **part["versions"],
            "PyTorch's CUDA": of_torch.get("cuda"),
            "cuDNN": of_torch.get("cudnn"),
        }
        columns.append({name: str(what) for name, what in named.items() if what})
    names = dict.fromkeys(name for column in columns for name in column)
    rows = [[Cell(name), *(Cell(column.get(name, "")) for column in columns)] for name in names]
    header = ["", *(f"part {number}" for number in range(1, len(columns) + 1))]
    return Table("Versions", "", header, rows)


def _left_out(report: Report) -> list[str]:
    """Return a line for each subject and reason."""
    reasons: dict[tuple[str, str], list[str]] = {}
    for row in report["left_out"]:
        shapes = [f"{batch} x {length}" for batch, length in row["shapes"]]
        count = _shapes(len(shapes)) if len(shapes) > _MOST_NAMED else ", ".join(shapes)
        models = reasons.setdefault((row["subject"], row["reason"]), [])
        models.append(f"{count} of {row['model']}")
    return [
        f"{subject}, {'; '.join(models)}: {reason}" for (subject, reason), models in reasons.items()
    ]


def _shapes(count: int) -> str:
    return f"{count} shape{'s' if count > 1 else ''}"
