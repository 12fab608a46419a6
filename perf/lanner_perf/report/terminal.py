"""A page as text for a terminal: the tables that a reader needs first."""

import re

from lanner.commands.console import table
from lanner_perf.record.tables import Table
from lanner_perf.report.page import Page

#: Tables with more columns show no spreads; the pages have them.
_MOST_COLUMNS_WITH_SPREADS = 4
#: The number before the name of a subject; only plots refer to it.
_NUMBER = re.compile(r"^\d+\. ")


def terminal_text(page: Page) -> str:
    """Return the title, the first tables, and the list of what was not measured."""
    parts = [f"{page.title}\n{page.lead}", *map(_text, page.tables)]
    if page.left_out:
        parts.append("\n".join(f"not measured: {line}" for line in page.left_out))
    return "\n\n".join(parts)


def _text(shown: Table) -> str:
    has_spreads = len(shown.header) <= _MOST_COLUMNS_WITH_SPREADS
    rows = [
        [
            str(cell) if has_spreads else " ".join(filter(None, (cell.text, cell.beside)))
            for cell in (name._replace(text=_NUMBER.sub("", name.text)), *cells)
        ]
        for name, *cells in shown.rows
    ]
    return f"{shown.title}\n{table([shown.header, *rows])}"
