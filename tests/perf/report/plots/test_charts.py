import warnings
from io import BytesIO
from xml.etree import ElementTree

import numpy as np
import pytest

pytest.importorskip("matplotlib", reason="needs lanner-bench")
pytest.importorskip("scipy", reason="needs lanner-bench")

from PIL import Image
from tests.support.bench_report import bench_report, with_floor
from tests.support.server_report import server_report

from lanner_perf.report.plots.charts import draw_charts
from lanner_perf.report.plots.drawing import _apart


def test_every_plot_in_black_and_white_with_words() -> None:
    charts = draw_charts(bench_report())
    assert [chart.name for chart in charts] == [
        "throughput",
        "quality",
        "latency-by-length",
        "throughput-by-length",
        "concurrency",
        "open-loop",
        "memory",
        "cold-start",
    ]
    for chart in charts:
        pixels = np.asarray(Image.open(BytesIO(chart.png)).convert("RGB")).astype(int)
        assert np.ptp(pixels, axis=2).max() == 0, chart.name  # no colored axes, marks or words
        assert (pixels[:, :, 0] < 64).sum() > 1_000, chart.name  # axes, marks and words
        assert ElementTree.fromstring(chart.svg).tag.endswith("svg")  # noqa: S314 (our own)
        assert chart.alt
        assert chart.caption
    assert charts[0].alt == (
        "Bars of short texts/s and mixed texts/s. The lowest is 100 of sentence-transformers torch "
        "fp32, the highest 1,000 of lanner int8."
    )


def test_a_server_has_the_parts_of_its_calls_and_no_quality_of_its_own() -> None:
    charts = {chart.name: chart for chart in draw_charts(server_report())}
    assert "quality" not in charts
    assert charts["call-parts"].alt == (
        "Stacked bars of the milliseconds of a call: client, network, queue, model. For one "
        "caller: The lowest is 6.00 of in process, the highest 16.00 of by hand, gRPC."
    )
    assert ElementTree.fromstring(charts["call-parts"].svg).tag.endswith("svg")  # noqa: S314
    alone = server_report()
    alone["subjects"] = alone["subjects"][2:3]  # nothing in process, and no other subject
    assert "call-parts" in {chart.name for chart in draw_charts(alone)}


def test_the_floor_where_it_was_measured() -> None:
    charts = {chart.name: chart for chart in draw_charts(with_floor(bench_report()))}
    assert charts["floor"].alt.endswith("the highest 50 of lanner int8.")


def test_the_same_report_draws_the_same_plots() -> None:
    first, second = (draw_charts(bench_report()) for _ in range(2))
    assert first == second


def test_what_was_not_measured_is_not_drawn() -> None:
    report = bench_report()
    del report["subjects"][0]["throughput"], report["subjects"][2]["open_loop"]
    for row in report["subjects"]:
        del row["memory"], row["cold_start"], row["quality"]
    names = [chart.name for chart in draw_charts(report)]
    assert names == [
        "throughput",
        "latency-by-length",
        "throughput-by-length",
        "concurrency",
        "open-loop",
    ]
    assert draw_charts({**report, "subjects": [{"name": "x", "kind": "x", "engine": "x"}]}) == []


def test_a_name_is_not_taken_for_math_and_a_zero_not_for_a_point() -> None:
    report = bench_report()
    row = report["subjects"][1]
    row["name"] = "$\\frac{$ & <b>"
    row["concurrency"]["16"] |= {"texts_per_s": 0.0, "p99_ms": 0.0}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        charts = draw_charts(report)
    assert len(charts) == 8
    assert all(ElementTree.fromstring(chart.svg) is not None for chart in charts)  # noqa: S314


def test_names_beside_lines_stand_apart() -> None:
    assert _apart([10, 50], 5, 100) == [10, 50]
    assert _apart([10, 10], 4, 100) == [8, 12]
    assert _apart([99, 98, 97], 10, 100) == [100, 90, 80]
    assert _apart([], 10, 100) == []
