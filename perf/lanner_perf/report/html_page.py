"""A page as one HTML file that contains its plots and styles."""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from lanner_perf.report.page import Page
from lanner_perf.report.plots.drawing import Chart

_TEMPLATE = "report.html.jinja"


def html_page(page: Page, charts: Sequence[Chart]) -> str:
    """Return the page with its plots inside; every name in it is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    drawn = [{"chart": chart, "uri": _uri(chart.svg)} for chart in charts]
    return environment.get_template(_TEMPLATE).render(page=page, charts=drawn)


def _uri(svg: bytes) -> str:
    return f"data:image/svg+xml;base64,{base64.b64encode(svg).decode()}"
