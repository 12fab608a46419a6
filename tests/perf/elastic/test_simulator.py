"""The simulation against queues whose answers are known, and small cases worked out by hand."""

import math
from itertools import pairwise

import numpy as np
import pytest
from tests.support.marks import slow

from lanner_perf.elastic.autoscaler import DOWN, Policy, Rules, Scaling
from lanner_perf.elastic.fleet import LatencyTable, latency_table, run_fleet
from lanner_perf.elastic.load_curve import LoadCurve, day
from lanner_perf.elastic.service_time import ServiceTime
from lanner_perf.elastic.simulator import LostZone, Observation, PodKind, Simulation, area

#: 10 ms for each text of 10 tokens, one at a time.
SINGLE = ServiceTime([(10, 10.0)], token_budget=10)


def steady(rate: float, seconds: float) -> LoadCurve:
    return LoadCurve([(0.0, rate), (seconds, rate)])


@pytest.mark.parametrize("share", [0.3, 0.6, pytest.param(0.8, marks=pytest.mark.slow)])
def test_one_worker_waits_as_the_formula_of_pollaczek_and_khinchine_says(share: float) -> None:
    # M/D/1: the mean wait is share / (2 (1 - share)) services.
    found = Simulation(PodKind(SINGLE)).run(
        steady(100 * share, 3_000 if share > 0.7 else 600), [10]
    )
    expected_ms = 10 * (1 + share / (2 * (1 - share)))
    assert float(found.latency_ms.mean()) == pytest.approx(expected_ms, rel=0.05)
    assert (found.lost, len(found.refused_s)) == (0, 0)


def test_waiting_texts_share_a_batch_within_the_budget() -> None:
    # 8 ms a batch and 1 ms a text: 8 texts of 10 tokens together take 16 ms.
    times = ServiceTime([(10, 1.0)], run_ms=8.0, token_budget=80)
    assert times.of_batch([10] * 8) == 16.0
    assert times.per_core(10) == 500.0
    found = Simulation(PodKind(times)).run(steady(450, 60), [10])
    assert len(found.latency_ms) == pytest.approx(27_000, rel=0.05)
    # One at a time it could answer 111 a second.
    assert float(np.percentile(found.latency_ms, 99)) < 100


def test_a_full_queue_refuses() -> None:
    found = Simulation(PodKind(SINGLE, most_tokens=100)).run(steady(200, 20), [10])
    # 100 of 200 a second are answered, and those wait for at most ten others and the running one.
    assert len(found.latency_ms) == pytest.approx(2_000, rel=0.02)
    assert len(found.refused_s) == pytest.approx(2_000, rel=0.1)
    assert float(found.latency_ms.max()) <= 120 + 1e-6


def test_the_autoscaler_follows_a_ramp_and_goes_back() -> None:
    curve = LoadCurve([(0, 40), (120, 40), (240, 400), (400, 400), (460, 40), (1_100, 40)])
    scaling = Scaling(0.6, least=1, most=20, down=Rules(120.0, (Policy("Percent", 50, 30.0),)))
    found = Simulation(PodKind(SINGLE, start_s=5), scaling).run(curve, [10])
    # 40 a second need 0.4 busy pods and 400 need 4: at a share of 0.6 that is 1 and 7.
    assert max(number for _, number in found.asked) in (7, 8)
    assert found.asked[-1][1] == 1
    assert found.lost == 0
    assert found.turns(120.0) == 1
    p99_ms = found.p99_ms(20.0)
    assert sum(one < 100 for one in p99_ms) >= 0.95 * len(p99_ms)


def test_a_lost_zone_loses_what_it_ran_and_is_replaced() -> None:
    scaling = Scaling(0.6, least=3, most=20)
    simulation = Simulation(PodKind(SINGLE, start_s=5), scaling, pods=6, lost_zone=LostZone(60.0))
    found = simulation.run(steady(350, 120), [10])
    ready = dict(found.pods)
    assert ready[60.0] == 4
    assert 0 < found.lost < 20
    assert found.pods[-1][1] >= 6


def test_a_curve_has_its_rates_and_its_arrivals() -> None:
    curve = LoadCurve([(0, 0), (10, 100), (20, 100)])
    assert [curve.rate(at_s) for at_s in (0, 5, 10, 15, 20, 30)] == [0, 50, 100, 100, 100, 100]
    arrivals_s = curve.arrivals_s(np.random.default_rng(1))
    assert len(arrivals_s) == pytest.approx(1_500, rel=0.1)
    assert float(np.mean(arrivals_s < 10)) == pytest.approx(1 / 3, abs=0.05)
    whole = day(1_000)
    assert (whole.seconds, whole.peak, whole.rate(14 * 3600)) == (86_400, 1_000, 1_000)
    assert whole.faster(100).rate(14 * 36) == 1_000
    assert area([(0, 2), (10, 4)], 20) == 60


@pytest.mark.parametrize("start_s", [10, *slow(3, 40)])
@pytest.mark.parametrize("lost_zone", [None, LostZone(400.0)])
def test_a_fleet_is_scaled_as_its_pods_one_by_one(
    start_s: float, lost_zone: LostZone | None
) -> None:
    curve = LoadCurve([(0, 250), (120, 250), (300, 800), (480, 800), (520, 300), (800, 300)])
    down = Rules(100.0, (Policy("Percent", 20, 60.0),))
    scaling = Scaling(0.6, least=4, most=60, down=down)
    simulation = Simulation(PodKind(SINGLE, start_s=start_s), scaling, pods=5, lost_zone=lost_zone)
    events = simulation.run(curve, [10])
    table = LatencyTable(100.0, [(0.5, 20.0), (0.9, 50.0)])
    shares = run_fleet(table, curve, scaling, pods=5, start_s=start_s, lost_zone=lost_zone)
    # The decisions are the same, unless a mean is as near to the tolerance as chance reaches.
    assert shares.pod_hours * 3600 == pytest.approx(events.pod_seconds, rel=0.1)
    most = max(number for _, number in events.asked)
    assert abs(max(one.asked for one in shares.steps) - most) <= 2
    assert abs(shares.steps[-1].asked - events.asked[-1][1]) <= 1


@pytest.mark.slow
def test_few_pods_stand_for_a_large_fleet() -> None:
    kind = PodKind(SINGLE, start_s=10)
    table = latency_table(kind, [10])
    assert table.capacity == 100
    # A curve that a simulation of events can run, and the same by shares of load.
    curve = LoadCurve([(0, 250), (300, 250), (600, 1_000), (900, 1_000)])
    scaling = Scaling(0.6, least=4, most=60, down=DOWN)
    events = Simulation(kind, scaling, pods=5).run(curve, [10])
    shares = run_fleet(table, curve, scaling, pods=5, start_s=10)
    assert shares.pod_hours * 3600 == pytest.approx(events.pod_seconds, rel=0.05)
    every_s = 100
    of_events = events.p99_ms(every_s)
    of_shares = [
        float(np.mean([one.p99_ms for one in shares.steps if low <= one.at_s < high]))
        for low, high in pairwise(range(0, 1_000, every_s))
    ]
    # More pods than the group find an idle one more often: the group is on the safe side.
    assert of_shares == pytest.approx(of_events, rel=0.35, abs=5.0)


def test_a_million_requests_a_second() -> None:
    table = latency_table(PodKind(SINGLE, cores=8, start_s=30), [10])
    curve = day(1e6)
    scaling = Scaling(0.6, least=100, most=5_000)
    start = math.ceil(curve.rate(0) / table.capacity / 0.6)
    found = run_fleet(table, curve, scaling, pods=start, start_s=30, step_s=5.0)
    most = max(step.asked for step in found.steps)
    # 1e6 requests a second are 1,250 busy pods of 8 cores, at a share of 0.6 about 2,084.
    assert most == pytest.approx(2_084, rel=0.1)
    assert found.within(100) > 0.99
    assert found.pod_hours < 0.7 * 24 * most


def test_the_autoscaler_sees_the_past() -> None:
    late = Observation(window_s=60, delay_s=30)
    curve = LoadCurve([(0, 50), (60, 50), (61, 150), (300, 150)])
    scaling = Scaling(0.6, least=1, most=10)
    early = Simulation(PodKind(SINGLE), scaling).run(curve, [10])
    later = Simulation(PodKind(SINGLE), scaling, observation=late).run(curve, [10])
    assert later.asked[1][0] > early.asked[1][0]
    assert float(later.latency_ms.max()) > float(early.latency_ms.max())
