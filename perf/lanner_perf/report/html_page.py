"""A report of `lanner bench` as one HTML file that needs nothing beside it."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lanner_perf.report.bench_checks import headlines
from lanner_perf.report.content import (
    check_table,
    conditions,
    detail_tables,
    headline,
    lanner_names,
    left_out,
    page_title,
    versions_table,
)
from lanner_perf.report.drawing import Chart

Report = Mapping[str, Any]
_TEMPLATE = "report.html.jinja"


def html_page(report: Report, charts: Sequence[Chart]) -> str:
    """The page, with its plots inside; every name in it is escaped.

    Args:
        report: What `lanner_perf.bench` measured.
        charts: Its plots.
    """
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(_TEMPLATE).render(
        report=report,
        title=page_title(report),
        headlines=headlines(report),
        headline=headline(report),
        checks=check_table(report),
        charts=[{"chart": chart, "uri": _uri(chart.svg)} for chart in charts],
        details=detail_tables(report),
        conditions=conditions(report),
        versions=versions_table(report),
        left_out=left_out(report),
        lanner=[name.text for name in lanner_names(report)],
    )


def _uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
