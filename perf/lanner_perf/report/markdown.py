"""A page as Markdown for a repository."""

from collections.abc import Mapping, Sequence

from lanner_perf.record.tables import Table
from lanner_perf.report.page import Page


def markdown_page(page: Page, pictures: Mapping[str, tuple[str, str]]) -> str:
    """Return the tables, and links to the plots.

    Args:
        page: The content.
        pictures: The file name and the description of each plot, by its title.
    """
    plots = [f"## {title}\n\n![{alt}]({file})" for title, (file, alt) in pictures.items()]
    conditions = [("", ""), *page.conditions.items()]
    parts = [
        f"# {_inline(page.title)}",
        _inline(page.lead),
        *map(_section, page.tables),
        *plots,
        *map(_section, page.details),
        f"## How it was measured\n\n{_markdown_table(conditions)}",
        _section(page.versions),
    ]
    if page.left_out:
        lines = "\n".join(f"- {_inline(line)}" for line in page.left_out)
        parts.append(f"## Not measured\n\n{lines}")
    return "\n\n".join(parts) + "\n"


def _markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table whose header is the first row."""
    lines = [f"| {' | '.join(_inline(cell) for cell in row)} |" for row in rows]
    lines.insert(1, f"|{'---|' * len(rows[0])}")
    return "\n".join(lines)


def _section(table: Table) -> str:
    rows = [table.header, *([str(cell) for cell in row] for row in table.rows)]
    parts = [f"## {table.title}", _markdown_table(rows), table.note]
    return "\n\n".join(part for part in parts if part)


def _inline(text: str) -> str:
    return " ".join(text.split()).replace("|", "/").replace("<", "&lt;")
