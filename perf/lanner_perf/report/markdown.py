"""Markdown: a table, and a report of `lanner bench` as a page that a repository shows."""

from collections.abc import Mapping, Sequence
from typing import Any

from lanner_perf.record.tables import Table
from lanner_perf.report.content import (
    check_table,
    conditions,
    detail_tables,
    headline,
    left_out,
    page_title,
    versions_table,
)

Report = Mapping[str, Any]


def markdown_page(report: Report, pictures: Mapping[str, tuple[str, str]]) -> str:
    """The tables and links to the plots.

    Args:
        report: What `lanner_perf.bench` measured.
        pictures: By the title of a plot its file's name, and what it shows in words.
    """
    plots = [f"## {title}\n\n![{alt}]({file})" for title, (file, alt) in pictures.items()]
    conditions_rows = [("", ""), *conditions(report).items()]
    parts = [
        f"# {_inline(page_title(report))}",
        _section(headline(report)),
        _section(check_table(report)),
        *plots,
        *map(_section, detail_tables(report)),
        f"## How it was measured\n\n{markdown_table(conditions_rows)}",
        _section(versions_table(report)),
    ]
    if gone := left_out(report):
        parts.append("## Not measured\n\n" + "\n".join(f"- {_inline(line)}" for line in gone))
    return "\n\n".join(parts) + "\n"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row is its header."""
    lines = [f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    return "\n".join(lines)


def _section(table: Table) -> str:
    rows = [table.header, *([str(cell) for cell in row] for row in table.rows)]
    parts = [f"## {table.title}", markdown_table(rows), table.note]
    return "\n\n".join(part for part in parts if part)


def _inline(text: str) -> str:
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")
