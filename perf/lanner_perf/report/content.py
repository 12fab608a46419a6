"""A report of `lanner bench` as a page."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from lanner_perf.record.call_tables import WAYS, call_tables, server_conditions
from lanner_perf.record.figures import OF_FLOOR, Figure, by_number, figures, is_lanner, ratio
from lanner_perf.record.tables import NOT_MEASURED, Cell, Table, name_cell
from lanner_perf.report.checks import forms_of, note_of
from lanner_perf.report.page import Headline, Page

Report = Mapping[str, Any]
#: The figures of the first table, if they were measured.
HEADLINE = (
    "throughput.short",
    "throughput.mixed",
    "latency.p50",
    "latency.p99",
    "concurrency.16.texts_per_s",
    "concurrency.16.p99_ms",
    "cold_start.load_s",
    "cold_start.first_answer_ms",
    "memory.peak_mb",
    "size.model_mb",
    "of_floor.short",
    "quality.spearman",
    "quality.cosine_mean",
    "quality.batch_independence_cosine",
)
_WITHOUT_RATIOS = ("quality.", OF_FLOOR)
_DIFFERENCES = frozenset({"quality.spearman"})


def report_page(report: Report) -> Page:
    """Return the page of a report, with each table that it has figures for."""
    where = " on a Triton server" if "server" in report else ""
    lanner = (name_cell(index, row) for index, row in _numbered(report) if is_lanner(row))
    return Page(
        title=f"{report['artifact']}{where}: speed, memory and quality",
        lead=f"{report['machine']['cpu']}, {report['threads']} threads, {report['created'][:10]}. "
        f"{len(report['subjects'])} subjects in one run, the same texts for all, each in a process "
        "of its own.",
        headlines=headlines(report),
        tables=[headline_table(report), *call_tables(report), *check_tables(report)],
        details=detail_tables(report),
        conditions=conditions(report),
        versions=versions_table(report),
        left_out=left_out(report),
        emphasized=frozenset(name.text for name in lanner),
    )


def headlines(report: Report) -> list[Headline]:
    """Return the figures at the beginning of a page, from the checks of the report."""
    forms = forms_of(report)
    return [
        Headline(forms[check["what"]].format(check["measured"]), check["what"], check["of"])
        for check in report["checks"]
        if check["what"] in forms and check["measured"] is not None
    ]


def headline_table(report: Report) -> Table:
    """Return the table of the subjects, with each figure and its ratio to the reference."""
    rows = [figures(row) for row in report["subjects"]]
    keys = [key for key in HEADLINE if any(key in row for row in rows)]
    if "quality.spearman" in keys:  # says more than the cosine, and the table is wide
        keys.remove("quality.cosine_mean")
    labels = {key: figure.label for row in rows for key, figure in row.items()}
    cells = [
        [
            name_cell(index, row),
            Cell(precision_text(row)),
            *(_cell(key, found, rows[0]) for key in keys),
        ]
        for index, (row, found) in enumerate(zip(report["subjects"], rows, strict=True))
    ]
    note = (
        f"Medians of the rounds. Below each figure stand its ratio to "
        f"{report['subjects'][0]['name']} (for Spearman the difference), which is the median of "
        "the rounds' ratios, and the lowest and the highest round."
    )
    if "server" in report:
        note = f"{note} {WAYS}"
    return Table("Every figure", note, ["", "precision", *(labels[key] for key in keys)], cells)


def check_tables(report: Report) -> list[Table]:
    """Return the table of the checks that were measured, or none; the JSON has the others."""
    rows = []
    for check in report["checks"]:
        if check["holds"] is None:
            continue
        must = f"{'at least' if check['is_least'] else 'at most'} {check['bound']:g}"
        figure = Figure("", check["measured"], tuple(check["rounds"]), ".3f", True)
        measured = Cell(figure.text, spread=figure.spread_text)
        holds = Cell("yes" if check["holds"] else "NO")
        rows.append([Cell(check["what"], check["of"]), Cell(must), measured, holds])
    headers = ["", "must be", "measured", "holds"]
    return [Table("What must hold", note_of(report), headers, rows)] if rows else []


def detail_tables(report: Report) -> list[Table]:
    """Return the tables by length, callers and arrivals, and the floor, if they were measured."""
    percentiles = "p50 ms and p99 ms; below them the lowest and the highest p50."
    tables = [
        _family(report, "throughput_by_length", "throughput.{}", "Texts/s by tokens of a text"),
        _family(
            report,
            "latency_by_length",
            "latency.{}.p50",
            "Latency of one text by its tokens",
            percentiles,
            beside="latency.{}.p99",
        ),
        _family(
            report,
            "concurrency",
            "concurrency.{}.texts_per_s",
            "Texts/s by concurrent callers",
            "Each caller sends one text, and the next when it has the answer.",
        ),
        _family(
            report,
            "concurrency",
            "concurrency.{}.p50_ms",
            "Latency by concurrent callers",
            percentiles,
            beside="concurrency.{}.p99_ms",
        ),
        _open_loop(report),
        floor_table(report),
    ]
    return [table for table in tables if table.rows]


def floor_table(report: Report) -> Table:
    """Return the table of the machine's limits; it has no rows if they were not measured."""
    title = "The floor"
    if "floor" not in report:
        return Table(title, "", [""], [])
    from lanner_perf.floor.floor import noisy, summary_rows  # noqa: PLC0415 (only where there is one)

    header, *rows = summary_rows(report["floor"])
    note = (
        "The floor counts only the matrix products of the model for the true lengths of the texts, "
        "at the highest speed that any library reached here, without padding, tokenization, "
        "softmax or copies. "
        f"{noisy(report['floor'])}"
    )
    return Table(title, note.strip(), [*header], [[Cell(cell) for cell in row] for row in rows])


def versions_table(report: Report) -> Table:
    """Return the table of the versions of each environment."""
    environments = report["environments"] or {"": report["versions"]}
    packages = sorted({name for versions in environments.values() for name in versions})
    rows = [
        [Cell(name), *(Cell(versions.get(name, "")) for versions in environments.values())]
        for name in packages
    ]
    note = "A subject runs in the environment that its row in the results names."
    return Table("Versions", note, ["", *environments], rows)


def conditions(report: Report) -> dict[str, str]:
    """Return the conditions for reading the figures, and for measuring them again."""
    machine = report["machine"]
    workloads = {
        name: f"{workload['texts']:,} texts of {workload['tokens']:,} tokens from "
        f"{workload['source']}"
        for name, workload in report["workloads"].items()
    }
    seconds = ", ".join(f"{suite} {spent:.0f} s" for suite, spent in report["seconds"].items())
    return {
        "Made by": report["command"],
        "Made on": report["created"],
        "Processor": f"{machine['cpu']} ({', '.join(machine['cpu_flags'])})",
        "Memory": f"{machine['memory_bytes'] / 1e9:.0f} GB",
        "System": f"{machine['system']}, Python {machine['python']}",
        "Threads": f"{report['threads']} of {machine['cores']} cores, one subject at a time",
        **server_conditions(report),
        "Rounds": f"{report['rounds']}, interleaved over the subjects",
        "Timed": report["timed"],
        "Not timed": "Warm-up, choosing each subject's best batch size, and moving texts and "
        "vectors between processes. Only the cold start times the start of a process.",
        **{f"Workload {name}": text for name, text in workloads.items()},
        "Time taken": f"{report['whole_s'] / 60:.1f} minutes in all ({seconds})",
    }


def left_out(report: Report) -> list[str]:
    """Return one line for each subject that was left out, with the reason."""
    return [
        f"{item['name']}{' in ' + item['suite'] if 'suite' in item else ''}: {item['reason']}"
        for item in report["left_out"]
    ]


def precision_text(row: Report) -> str:
    """Return the precision of its weights, and the precision of its products if it is known."""
    compute = row.get("compute", "")
    return f"{row['precision']}, in {compute}" if compute else str(row["precision"])


def _numbered(report: Report) -> Iterable[tuple[int, Report]]:
    return enumerate(report["subjects"])


def _cell(key: str, row: Mapping[str, Figure], reference: Mapping[str, Figure]) -> Cell:
    if key not in row:
        return Cell(NOT_MEASURED)
    figure, beside = row[key], ""
    if key in reference:
        base = reference[key]
        if key in _DIFFERENCES:
            beside = f"{figure.median - base.median:+.2f}"
        elif not key.startswith(_WITHOUT_RATIOS) and (part := ratio(figure, base)):
            beside = f"{part.text}x"
    return Cell(figure.text, beside, figure.spread_text)


def _family(
    report: Report, suite: str, pattern: str, title: str, note: str = "", *, beside: str = ""
) -> Table:
    loads = _loads(report, suite)
    rows = []
    for index, row in enumerate(report["subjects"]):
        if row.get(suite):
            found = figures(row)
            cells = (
                _family_cell(found.get(pattern.format(load)), found.get(beside.format(load)))
                for load in loads
            )
            rows.append([name_cell(index, row), *cells])
    return Table(title, note, ["", *loads], rows)


def _family_cell(figure: Figure | None, other: Figure | None) -> Cell:
    if figure is None:
        return Cell(NOT_MEASURED)
    return Cell(figure.text, other.text if other else "", figure.spread_text)


def _open_loop(report: Report) -> Table:
    loads = _loads(report, "open_loop")
    rows = []
    for index, row in enumerate(report["subjects"]):
        if row.get("open_loop"):
            cells = (row["open_loop"].get(load) for load in loads)
            rows.append([name_cell(index, row), *map(_open_loop_cell, cells)])
    note = (
        "p99 ms from the scheduled arrival; below it the number of refused and failed calls. "
        "Texts arrive as a Poisson process and do not wait for answers. > marks a lower bound: the "
        "subject fell so far behind that its round was ended."
    )
    return Table("Open loop: p99 ms by arrivals/s", note, ["", *loads], rows)


def _open_loop_cell(load: Report | None) -> Cell:
    if load is None:
        return Cell(NOT_MEASURED)
    text = f"{'> ' if load['is_cut_short'] else ''}{load['p99_ms']:,.1f}"
    told = {"refused": load["refused"], "failed": load["failed"]}
    return Cell(text, ", ".join(f"{count:,} {what}" for what, count in told.items() if count))


def _loads(report: Report, suite: str) -> Sequence[str]:
    found: Iterable[str] = {load for row in report["subjects"] for load in row.get(suite, {})}
    return by_number(found)
