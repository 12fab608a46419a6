"""The pages of a report: their numbers, odd names, and the parts that are left out."""

from collections.abc import Mapping, Sequence
from html.parser import HTMLParser
from typing import Any

import pytest

pytest.importorskip("jinja2", reason="needs lanner-bench")
pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import LANNER, bench_report, with_floor
from tests.support.server_report import TOKENS, server_report

from lanner_perf.report.content import report_page
from lanner_perf.report.html_page import html_page
from lanner_perf.report.markdown import markdown_page
from lanner_perf.report.plots.drawing import Chart

ODD = "<script>alert('&')</script> 猎隼 🦅 $x_1$ | \""


class Page(HTMLParser):
    """The rows of a page's tables as text, its tags, and the descriptions of its images."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = []
        self.tags: set[str] = set()
        self.titles: list[str] = []
        self.alts: list[str] = []
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self._tag = tag
        if tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif tag == "img":
            self.alts.append(dict(attrs)["alt"] or "")

    def handle_data(self, data: str) -> None:
        if self._tag in {"td", "th", "b", "small"} and self.rows:
            separator = " " if self._tag == "small" else ""
            self.rows[-1][-1] += separator + data.strip()
        elif self._tag == "h2":
            self.titles.append(data.strip())
            self._tag = ""

    def row(self, name: str) -> list[str]:
        return next([cell.strip() for cell in row] for row in self.rows if name in row[0])


def html(report: dict[str, Any], charts: Sequence[Chart] = ()) -> str:
    return html_page(report_page(report), charts)


def markdown(report: dict[str, Any], pictures: Mapping[str, tuple[str, str]]) -> str:
    return markdown_page(report_page(report), pictures)


def page_of(report: dict[str, Any]) -> Page:
    return Page(html(report))


def test_every_figure_with_its_ratio_and_spread() -> None:
    page = page_of(bench_report())
    assert page.row(LANNER)[:4] == [
        f"3. {LANNER}",
        "int8",
        "1,000 10.00x 900 to 1,100",
        "1,000 10.00x 900 to 1,100",
    ]
    assert page.row(LANNER)[4:] == [
        "0.80 0.10x 0.80 to 0.80",  # p50 ms
        "3.20 0.10x 3.20 to 3.20",  # p99 ms
        "700 10.00x 700 to 700",  # texts/s of 16 callers
        "40.00 1.00x 40.00 to 40.00",
        "0.50 1.00x",  # a single cold start has no spread
        "100.0 1.00x",
        "150 1.00x",
        "90.0 1.00x",  # MB of files
        "86.60 -0.10",
    ]


def test_what_must_hold_with_what_was_measured() -> None:
    report = bench_report()
    report["checks"][0] |= {"measured": 4.0, "rounds": [3.5, 4.0, 4.25], "holds": False}
    page = page_of(report)
    assert page.row("short texts/s, of torch fp32")[1:] == [
        "at least 4.5",
        "4.000 3.500 to 4.250",
        "NO",
    ]
    assert page.row("mixed texts/s, of torch fp32")[3] == "yes"
    report["checks"][0] |= {"measured": None, "holds": None, "missing": "no torch"}
    rows = [row[0] for row in page_of(report).rows]
    assert not any(row.startswith("short texts/s, of torch fp32") for row in rows)
    assert any(row.startswith("mixed texts/s, of torch fp32") for row in rows)


def test_without_a_check_that_applies_there_is_no_table_of_them() -> None:
    report = bench_report()
    for check in report["checks"]:
        check |= {"measured": None, "holds": None, "missing": "no torch"}
    assert "What must hold" not in page_of(report).titles


def test_tables_by_length_callers_and_arrivals() -> None:
    page = page_of(bench_report())
    rows = [[cell.strip() for cell in row] for row in page.rows if row[0] == f"3. {LANNER}"]
    assert rows[1][1:] == ["1,000 900 to 1,100"] * 2
    assert rows[-1][1:] == ["9.0", "> 9.0 7 refused"]


def test_the_floor_and_how_near_to_it() -> None:
    page = page_of(with_floor(bench_report()))
    assert "The floor" in page.titles
    assert page.row("short, texts/s at most")[1:] == ["500", "2,000"]
    column = [cell.strip() for cell in page.rows[0]].index("short: % of the floor")
    assert page.row(LANNER)[column] == "50.0 45.0 to 55.0"
    assert "up to 30% of their median apart" in html_page(
        report_page(with_floor(bench_report())), []
    )


def test_a_server_and_the_parts_of_its_calls() -> None:
    report = server_report()
    text = html(report)
    assert "<h1>minilm on a Triton server: speed, memory and quality</h1>" in text
    assert "<b>+0.20 ms</b>" in text
    assert "Triton 2.51.0 at grpc://localhost:8001 and http://localhost:8000" in text
    page = Page(text)
    assert "Where the time of a call goes: 16 callers" in page.titles
    rows = [row for row in page.rows if row and row[0] == f"3. {TOKENS}"]
    assert [cell.strip() for cell in rows[1]][1:3] == [
        "8.00 +2.00 8.00 to 8.80",
        "1.00 1.00 to 1.10",
    ]
    lines = markdown(report, {}).splitlines()
    assert lines[0] == "# minilm on a Triton server: speed, memory and quality"
    assert any(line.startswith(f"| 3. {TOKENS} | 8.00 (+2.00; 8.00 to 8.80) |") for line in lines)


def test_what_was_not_measured_is_absent() -> None:
    report = bench_report()
    for row in report["subjects"]:
        for key in ("latency_by_length", "throughput_by_length", "concurrency", "open_loop"):
            del row[key]
        row["latency_by_length"] = {}  # requested, but no length was possible
    del report["subjects"][1]["quality"]
    report["left_out"] = []
    page = page_of(report)
    assert page.titles == ["Every figure", "What must hold", "How it was measured", "Versions"]
    assert page.row("a peer")[-1] == "not measured"
    assert "16 callers: texts/s" not in page.rows[0]


def test_odd_names_are_words_and_never_markup() -> None:
    report = bench_report()
    report["subjects"][1]["name"] = report["artifact"] = report["machine"]["cpu"] = ODD
    report["command"] = f"lanner bench '{ODD}'"
    report["left_out"] = [{"name": ODD, "reason": ODD}]
    text = html(report, [Chart("x", ODD, ODD, ODD, b"", b"")])
    page = Page(text)
    assert "script" not in page.tags
    assert page.row("script")[0] == f"2. {ODD}"
    assert page.alts == [ODD]
    assert "<script" not in text
    table_row = next(line for line in markdown(report, {}).splitlines() if "| 2. " in line)
    assert table_row.startswith(
        "| 2. &lt;script>alert('&')&lt;/script> 猎隼 🦅 $x_1$ / \" | fp32 |"
    )


def test_hardware_versions_and_how_to_measure_it_again() -> None:
    text = html(bench_report())
    for part in (
        "A CPU, 2 threads, 2026-11-22.",
        "lanner bench minilm.lanner --checkpoint minilm",
        "3,000 texts of 48,709 tokens from pairs.csv",
        "10.0 minutes in all (latency 60 s, throughput 120 s)",
        "another in latency: it is not &lt;installed&gt;",
    ):
        assert part in text


def test_the_same_tables_in_markdown() -> None:
    lines = markdown_page(
        report_page(bench_report()), {"Throughput": ("x.png", "bars")}
    ).splitlines()
    row = next(line for line in lines if LANNER in line)
    assert row.startswith(f"| 3. {LANNER} | int8 | 1,000 (10.00x; 900 to 1,100) |")
    assert "![bars](x.png)" in lines
    check = "| short texts/s, of torch fp32 (lanner int8 / sentence-transformers torch fp32) "
    assert f"{check}| at least 4.5 | 10.000 (10.000 to 10.000) | yes |" in lines
    assert "- another in latency: it is not &lt;installed>" in lines
