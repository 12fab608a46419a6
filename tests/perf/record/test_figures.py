import pytest

pytest.importorskip("scipy", reason="needs lanner-bench")


from tests.support.bench_report import bench_report, with_floor
from tests.support.server_report import server_report

from lanner_perf.record.figures import Figure, figures, is_call_part, ratio


def figure(*rounds: float) -> Figure:
    return Figure("x", sorted(rounds)[len(rounds) // 2], rounds, ".1f", is_more_better=True)


def alone(median: float) -> Figure:
    return Figure("x", median, (), ".1f", is_more_better=True)


def test_every_figure_has_a_name_a_unit_and_its_rounds() -> None:
    found = figures(bench_report()["subjects"][2])
    short = found["throughput.short"]
    assert [short.label, short.text, short.spread_text] == [
        "short texts/s",
        "1,000",
        "900 to 1,100",
    ]
    assert list(short.rounds) == [1000, 900, 1100]
    assert found["latency.p95"].median == pytest.approx(2.4)
    assert found["latency.p95"].rounds == pytest.approx((2.4, 2.4, 2.4))
    assert found["latency.128.p50"].label == "128 tokens: p50 ms"
    assert found["concurrency.16.texts_per_s"].label == "16 callers: texts/s"
    assert found["open_loop.200.p99_ms"].median == 9
    assert list(found["cold_start.first_answer_ms"].rounds) == [100]
    assert found["memory.peak_mb"].label == "memory peak MB"
    assert found["quality.spearman"].median == 86.6
    assert "memory.imported_mb" not in found  # None: the kind does not report it


def test_where_a_call_to_a_server_spends_its_time() -> None:
    report = server_report()
    found = figures(report["subjects"][2])
    queue = found["concurrency.16.queue_ms"]
    assert [queue.label, queue.text] == ["16 callers: ms in the queue", "0.50"]
    assert queue.rounds == pytest.approx((0.5, 0.55))
    assert found["concurrency.16.texts_per_run"].text == "5.0"
    assert {"call_ms", "cpu_ms"} == {
        key.rpartition(".")[2] for key in figures(report["subjects"][0]) if is_call_part(key)
    }
    assert not any(map(is_call_part, figures(bench_report()["subjects"][2])))


def test_parts_of_the_floor_have_the_spread_of_their_speed() -> None:
    found = figures(with_floor(bench_report())["subjects"][2])["of_floor.short"]
    assert found.label == "short: % of the floor"
    assert found.median == pytest.approx(50)  # 1,000 of 2,000
    assert list(found.rounds) == pytest.approx([50, 45, 55])


def test_more_is_better_of_rates_and_quality_alone() -> None:
    found = figures(bench_report()["subjects"][0])
    better = {key for key, one in found.items() if one.is_more_better}
    assert {"throughput.mixed", "concurrency.1.texts_per_s", "quality.spearman"} <= better
    assert not better & {
        "latency.p50",
        "memory.peak_mb",
        "cold_start.load_s",
        "open_loop.50.p99_ms",
    }


def test_what_was_not_measured_is_not_there() -> None:
    assert figures({"name": "x"}) == {}


def test_a_ratio_is_the_median_of_those_of_the_rounds() -> None:
    part = ratio(figure(450, 440, 500), figure(500, 400, 500))
    assert part is not None
    assert part.rounds == pytest.approx((0.9, 1.1, 1.0))
    assert part.median == pytest.approx(1.0)  # the ratio of the medians would be 0.9


def test_without_as_many_rounds_the_median_stands_for_each() -> None:
    part = ratio(figure(450, 500), alone(500))
    assert part is not None
    assert part.rounds == pytest.approx((0.9, 1.0))
    assert part.median == pytest.approx(0.95)
    part = ratio(alone(3), alone(2))
    assert part is not None
    assert (part.median, part.rounds) == (1.5, ())


def test_nothing_is_a_part_of_zero() -> None:
    assert ratio(figure(1, 2), figure(0, 2)) is None


def test_one_round_has_no_spread() -> None:
    assert figure(5).spread is None
    assert figure(5, 7).spread == 2
    assert figures(bench_report()["subjects"][0])["quality.spearman"].spread == 0.05
