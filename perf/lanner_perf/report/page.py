"""The content of a report for its reader, which HTML, Markdown and a terminal show."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from lanner_perf.record.tables import Table


class Headline(NamedTuple):
    """A figure at the beginning of a page, with its meaning and its subjects."""

    text: str
    what: str
    of: str


class Page(NamedTuple):
    """The content of a page without its plots.

    Attributes:
        title: Its heading.
        lead: One or two sentences below the heading.
        headlines: The figures at the beginning; may be empty.
        tables: The first tables.
        details: The tables that come after the plots.
        conditions: The conditions of the measurement, by name, for reading and repeating it.
        versions: The versions of each environment.
        left_out: A line for each subject or suite that was not measured, with the reason.
        emphasized: The names of the emphasized rows.
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
