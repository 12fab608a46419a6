"""A report as its reader sees it, whatever was measured: HTML, Markdown and a terminal show it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lanner_perf.record.tables import Table


class Headline(NamedTuple):
    """A figure that a page begins with, what it is, and of which subjects."""

    text: str
    what: str
    of: str


class Page(NamedTuple):
    """All that a page says, its plots aside.

    Attributes:
        title: Its heading.
        lead: A sentence or two below it.
        headlines: What it begins with; may be none.
        tables: What is read first.
        details: Tables that stand behind the plots.
        conditions: What is needed to read the figures and to measure them again, by its name.
        versions: The versions of each environment.
        left_out: What was not measured, and why; a line each.
        emphasized: The names of the rows that stand out.
    """

    title: str
    lead: str
    headlines: Sequence[Headline]
    tables: Sequence[Table]
    details: Sequence[Table]
    conditions: Mapping[str, str]
    versions: Table
    left_out: Sequence[str]
    emphasized: frozenset[str] = frozenset()
