import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the export extra")

from scipy.stats import bootstrap, norm

from lanner_export.quality import statistic
from lanner_export.quality.bootstrap import RESAMPLES, interval, resampled


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    items = np.random.default_rng(1).normal(3, 2, 400)
    low, high = interval(resampled(statistic.mean, items))
    half = norm.ppf(0.975) * items.std() / 400**0.5
    assert (low, high) == pytest.approx((items.mean() - half, items.mean() + half), abs=0.03)


def test_the_interval_of_a_correlation_is_scipy_s() -> None:
    generator = np.random.default_rng(1)
    gold = generator.normal(size=200)
    items = np.stack([gold + generator.normal(size=200), gold], axis=1)
    found = interval(resampled(statistic.spearman, items))
    theirs = bootstrap(
        (items[:, 0], items[:, 1]),
        lambda a, b: statistic.spearman(np.stack([a, b], axis=1)),
        paired=True,
        vectorized=False,
        n_resamples=RESAMPLES,
        method="percentile",
    ).confidence_interval
    assert found == pytest.approx((theirs.low, theirs.high), abs=1.5)


def test_differences_are_paired() -> None:
    items = np.random.default_rng(1).normal(0, 100, 50)
    difference = resampled(statistic.mean, items + 1) - resampled(statistic.mean, items)
    np.testing.assert_allclose(difference, 1)
    assert interval(difference) == pytest.approx((1, 1))


def test_it_is_the_same_again() -> None:
    items = np.random.default_rng(1).normal(size=20)
    np.testing.assert_array_equal(
        resampled(statistic.mean, items), resampled(statistic.mean, items)
    )


def test_draws_without_a_measure_are_left_out() -> None:
    # With two rows, half of all draws have the same row twice, and so no ranks.
    items = np.array([[1.0, 1.0], [2.0, 2.0]])
    values = resampled(statistic.spearman, items)
    assert 0.4 < np.isnan(values).mean() < 0.6
    assert interval(values) == pytest.approx((100, 100))
