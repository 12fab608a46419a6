import pytest

from lanner.tune.speedup import Speedup, fastest, median_interval


@pytest.mark.parametrize(
    ("values", "interval"),
    [
        ([5.0], (5.0, 5.0)),
        ([3.0, 1.0, 2.0, 5.0, 4.0], (1.0, 5.0)),
        # Of n values the chance that all lie on one side of the median is 2 / 2^n: 3.1% of 6 and
        # 1.6% of 7; that at most one lies on the other side, 7.0% of 8 and 3.9% of 9.
        ([3.0, 1.0, 2.0, 5.0, 4.0, 6.0], (1.0, 6.0)),
        ([8.0, 3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0], (1.0, 8.0)),
        ([9.0, 8.0, 3.0, 1.0, 2.0, 5.0, 4.0, 6.0, 7.0], (2.0, 8.0)),
    ],
)
def test_the_interval_of_a_median(values: list[float], interval: tuple[float, float]) -> None:
    assert median_interval(values) == interval


def test_intervals_are_those_of_the_binomial_distribution() -> None:
    stats = pytest.importorskip("scipy.stats", reason="needs the export extra")
    for count in range(6, 60):
        low, high = median_interval([float(number) for number in range(count)])
        assert low + high == count - 1
        missed, with_one_more = 2 * stats.binom.cdf([low, low + 1], count, 0.5)
        assert missed <= 0.05 < with_one_more


def test_a_speedup_is_of_paired_rounds() -> None:
    # The machine was half as fast in the second round, for both sides.
    found = Speedup.of([3.0, 6.0, 3.3], [2.0, 4.0, 2.0])
    assert (found.median, found.low) == (1.5, 1.5)
    assert found.high == pytest.approx(1.65)
    assert found.is_beyond_noise


def test_one_slower_round_of_nine_is_chance_and_two_are_noise() -> None:
    base = [1.0] * 9
    assert Speedup.of(base, [0.9] * 8 + [1.5]).is_beyond_noise
    assert not Speedup.of(base, [0.9] * 7 + [1.5, 1.01]).is_beyond_noise
    assert not Speedup.of(base, base).is_beyond_noise


def test_the_fastest_are_those_of_the_smallest_median() -> None:
    costs = {"a": [1.0, 9.0, 3.0], "b": [2.0, 2.0, 2.5], "c": [2.0], "d": [4.0, 4.0]}
    assert fastest(costs, 3) == ["b", "c", "a"]
