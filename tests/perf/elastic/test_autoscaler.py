"""The autoscaler against values worked out by hand from the documentation of Kubernetes."""

import pytest

from lanner_perf.elastic.autoscaler import (
    DOWN,
    UP,
    Autoscaler,
    Policy,
    Rules,
    Scaling,
    recommended,
)


def of(*values: float | None) -> dict[str, float | None]:
    return {str(number): value for number, value in enumerate(values)}


@pytest.mark.parametrize(
    ("metrics", "expected"),
    [
        (of(200, 200), 4),  # 200 of a target of 100: twice as many
        (of(50, 50, 50, 50), 2),  # half of the target: half as many
        (of(109, 109, 109), 3),  # within the tolerance of 0.1
        (of(91, 91, 91), 3),
        (of(112, 112, 112), 4),  # ceil(3 x 1.12)
        (of(150, 150, None), 3),  # the third counts as 0: (150 + 150 + 0) / 3 = 100
        (of(300, 300, None), 6),  # (300 + 300 + 0) / 3 = 200: ceil(2 x 3)
        (of(20, 20, None), 2),  # it counts as 100: 140 / 3 = 46.7: ceil(0.467 x 3)
        (of(None, None), 2),  # nothing is known
        (of(110.0000001, 110), 3),  # ceil(2 x 1.1): just above the tolerance
    ],
)
def test_the_ratio_of_metric_and_target(metrics: dict[str, float | None], expected: int) -> None:
    assert recommended(len(metrics), metrics, 100.0) == expected


def test_up_goes_at_once_and_at_most_doubles_or_adds_four_in_15_seconds() -> None:
    scaler = Autoscaler(Scaling(1.0, least=1, most=100))
    assert scaler.settle(0, 2, 50) == 6  # 2 + 4 is more than 2 x 2
    assert scaler.settle(10, 6, 50) == 6  # the period began with 2 pods
    assert scaler.settle(15, 6, 50) == 12  # 6 x 2 is more than 6 + 4
    assert scaler.settle(30, 12, 13) == 13


def test_down_waits_for_five_minutes_without_a_higher_recommendation() -> None:
    scaler = Autoscaler(Scaling(1.0, least=1, most=100))
    assert scaler.settle(0, 10, 10) == 10
    assert scaler.settle(15, 10, 4) == 10
    assert scaler.settle(150, 10, 6) == 10
    assert scaler.settle(299, 10, 4) == 10
    # The 10 of the start is too old by now; of the others 6 is the greatest.
    assert scaler.settle(301, 10, 4) == 6
    assert scaler.settle(449, 6, 4) == 6
    assert scaler.settle(451, 6, 4) == 4


def test_policies_bound_the_way_down_and_bounds_the_number() -> None:
    down = Rules(0.0, (Policy("Percent", 10, 60.0), Policy("Pods", 2, 60.0)))
    scaler = Autoscaler(Scaling(1.0, least=3, most=40, down=down))
    assert scaler.settle(0, 50, 1) == 40  # the most; 45 would be allowed
    assert scaler.settle(61, 40, 1) == 36  # 10 % are more than 2 pods
    assert scaler.settle(100, 36, 1) == 36  # 40 were there at the start of the minute
    assert scaler.settle(200, 6, 1) == 4  # 2 pods are more than 10 %
    assert scaler.settle(300, 4, 1) == 3  # the least


def test_the_window_of_the_way_up_takes_the_least() -> None:
    up = Rules(60.0, UP.policies)
    scaler = Autoscaler(Scaling(1.0, most=100, up=up))
    assert scaler.settle(0, 4, 4) == 4
    assert scaler.settle(30, 4, 8) == 4
    assert scaler.settle(61, 4, 6) == 6  # of 8 and 6


def test_a_faster_clock() -> None:
    fast = Scaling(0.5, down=DOWN).faster(10)
    assert (fast.sync_s, fast.down.window_s, fast.up.policies[0].period_s) == (1.5, 30.0, 1.5)
    assert (fast.target, fast.tolerance, fast.up.policies[0].value) == (0.5, 0.1, 4)
