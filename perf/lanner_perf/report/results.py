"""Results on disk: the figures as JSON, and the pages and plots made from them."""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from lanner.errors import InputError
from lanner.files.staging import require_output_file, staged_file
from lanner_perf.record.figures import figures
from lanner_perf.record.schema import SCHEMA
from lanner_perf.report.content import conditions, left_out, report_page, versions_table
from lanner_perf.report.markdown import markdown_page
from lanner_perf.report.page import Page
from lanner_perf.report.plots.drawing import Chart

Report = dict[str, Any]
PAGE_SUFFIX = ".html"
#: The keys that every page and comparison needs; see `lanner_perf.record.schema.Report` and
#: `lanner_perf.bench`.
_KEYS: dict[str, type | tuple[type, ...]] = {
    "artifact": str,
    "created": str,
    "command": str,
    "timed": str,
    "machine": dict,
    "versions": dict,
    "environments": dict,
    "workloads": dict,
    "seconds": dict,
    "threads": int,
    "rounds": int,
    "suites": list,
    "left_out": list,
    "checks": list,
    "whole_s": (int, float),
    "is_quick": bool,
}


def read_result(path: Path) -> Report:
    """Return a result that `lanner bench` wrote.

    Raises:
        InputError: The file is missing, damaged, from another program, or of another layout.
    """
    try:
        report = json.loads(path.read_bytes(), parse_constant=_refuse)
    except OSError as error:
        msg = f"{path} cannot be read ({error.strerror}): give a .json that 'lanner bench' wrote"
        raise InputError(msg) from None
    except ValueError:
        msg = f"{path} is not complete JSON: give a .json that 'lanner bench' wrote"
        raise InputError(msg) from None
    if not isinstance(report, dict) or not isinstance(report.get("subjects"), list):
        msg = f"{path} is not a result of 'lanner bench': give a .json that it wrote"
        raise InputError(msg)
    if report.get("schema") != SCHEMA:
        msg = (
            f"{path} has the layout {report.get('schema', 1)!r}, and this Lanner reads {SCHEMA}: "
            "measure again, or read it with the Lanner that wrote it"
        )
        raise InputError(msg)
    if what := _damage(report):
        msg = f"{path} is damaged ({what}): measure again"
        raise InputError(msg)
    return report


def output_files(page: Path, plots: list[str]) -> dict[str, Path]:
    """Return the files of a report by "html", "json", "md" and the name of each plot."""
    stem = page.with_suffix("")
    files = {kind: stem.with_name(f"{stem.name}.{kind}") for kind in ("html", "json", "md")}
    return files | {plot: stem.with_name(f"{stem.name}-{plot}.png") for plot in plots}


def require_page(page: Path) -> None:
    """Check that a report can be written to a place; call this before long work.

    Raises:
        InputError: The suffix is wrong, or the directory is missing or read-only.
    """
    if page.suffix != PAGE_SUFFIX:
        msg = f"{page}: the report is an HTML page: give a name that ends in {PAGE_SUFFIX}"
        raise InputError(msg)
    for file in output_files(page, []).values():
        require_output_file(file)


def write_report(report: Report, path: Path) -> list[Path]:
    """Write a report of `lanner bench` to files; see `write_page`."""
    from lanner_perf.report.plots.charts import draw_charts  # noqa: PLC0415 (matplotlib)

    return write_page(report, report_page(report), partial(draw_charts, report), path)


def write_page(
    report: Report, page: Page, draw: Callable[[], Sequence[Chart]], path: Path
) -> list[Path]:
    """Write the figures, and then the page, its Markdown and the plots.

    Args:
        report: The report.
        page: The content of its page.
        draw: Draws its plots.
        path: The HTML file; the other files are written beside it.

    Returns:
        The files.

    Raises:
        InputError: The files cannot be written there.
    """
    from lanner_perf.report.html_page import html_page  # noqa: PLC0415 (jinja2)

    files = output_files(path, [])
    _write(files["json"], json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")
    charts = draw()
    files = output_files(path, [chart.name for chart in charts])
    for chart in charts:
        _write(files[chart.name], chart.png)
    pictures = {chart.title: (files[chart.name].name, chart.alt) for chart in charts}
    _write(files["md"], markdown_page(page, pictures).encode())
    _write(files["html"], html_page(page, charts).encode())
    return list(files.values())


def _write(path: Path, content: bytes) -> None:
    with staged_file(path) as file:
        file.write(content)


def _damage(report: Mapping[str, Any]) -> str:
    """Return the fault of a report in words; empty if it has none."""
    for key, kind in _KEYS.items():
        if not isinstance(report.get(key), kind):
            return f"its {key!r} is missing or of another type"
    if not report["subjects"]:
        return "it has no subjects"
    try:
        for row in report["subjects"]:
            figures(row)
            _ = row["name"] + row["kind"] + row["engine"] + row["precision"]
        conditions(report)
        versions_table(report)
        left_out(report)
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        return f"{type(error).__name__}: {error}"
    return ""


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)
