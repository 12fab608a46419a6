import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the export extra")

from scipy.stats import spearmanr

from lanner_export.quality import statistic


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape)


@pytest.mark.parametrize(
    ("answered", "expected"),
    [
        ([3.0, 2.0, 1.0], 100.0),
        ([1.0, 2.0, 3.0], -100.0),
        # Ranks 3 1 2 against 3 2 1: 1 - 6 * (0 + 1 + 1) / (3 * 8) = 0.5
        ([9.0, -1.0, 2.0], 50.0),
        ([1.0, 1.0, 1.0], 0.0),
    ],
)
def test_spearman_by_hand(answered: list[float], expected: float) -> None:
    items = np.stack([answered, [5.0, 4.0, 0.0]], axis=1)
    assert statistic.spearman(items) == pytest.approx(expected)


def test_spearman_is_scipy_s() -> None:
    items = random(200, 2).round(1)  # with ties
    assert statistic.spearman(items) == pytest.approx(100 * spearmanr(*items.T).statistic)


def test_spearman_of_what_has_no_ranks_is_undefined() -> None:
    assert np.isnan(statistic.spearman(np.array([[1.0, 2.0], [3.0, 2.0]])))


def test_correlation_is_the_mean_of_its_columns() -> None:
    items = random(50, 2, 3)
    expected = [spearmanr(items[:, 0, i], items[:, 1, i]).statistic for i in range(3)]
    assert statistic.correlation(items) == pytest.approx(np.mean(expected))
    same = np.zeros((4, 2, 1))
    assert statistic.correlation(same) == 1
    same[0, 1] = 7
    assert statistic.correlation(same) == 0


def test_f1_by_hand() -> None:
    # 3 right of 4 found and 5 wanted: precision 3/4, recall 3/5, F1 2/3.
    items = np.array([[2.0, 2.0, 3.0], [1.0, 2.0, 2.0], [0.0, 0.0, 0.0]])
    assert statistic.f1(items) == pytest.approx(200 / 3)
    assert np.isnan(statistic.f1(items[2:]))


def test_terms_kept_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(statistic, "TERMS", 2)
    theirs = np.array([[3, 2, 1, 0], [3, 2, 1, 0], [0, 0, 5, 0], [0, 0, 0, 0]], np.float32)
    ours = np.array([[2, 3, 1, 0], [0, 1, 2, 0], [9, 0, 5, 0], [1, 0, 0, 0]], np.float32)
    # Both of two; one of two; the only one is second; none to keep.
    assert statistic.terms_kept(ours, theirs).tolist() == [1, 0.5, 0, 1]


def test_means_and_ratios_by_hand() -> None:
    assert statistic.mean(np.array([1.0, 0.0, 0.5])) == 0.5
    assert statistic.percent(np.array([1.0, 0.0, 0.0, 1.0])) == 50
    assert statistic.ratio(np.array([[1.0, 2.0], [2.0, 4.0]])) == 0.5
    assert np.isnan(statistic.ratio(np.zeros((2, 2))))


def test_kept_neighbours_by_hand() -> None:
    # 13 texts on a line, by euclidean distance: the ten nearest of 0 are 1 ... 10.
    ours = np.arange(13, dtype=np.float32)[:, None]
    theirs = ours.copy()
    theirs[[1, 2]] = [[20], [21]]  # two texts move to the other end
    found = statistic.neighbours_kept(ours, theirs, name="euclidean")
    assert found.shape == (13,)
    assert found[0] == 0.8  # 3 ... 10 of 1 ... 10 are kept, 11 and 12 are new
    # The nearest of 12 are 2 ... 11. Then text 1 is as far from it as text 4 (8), and text 2
    # as far as text 3 (9), and the lower row wins: 1, 2 and 4 ... 11. So 2 and 4 ... 11 are kept.
    assert found[12] == 0.9
    assert statistic.neighbours_kept(ours, ours, name="euclidean").tolist() == [1] * 13
    # With few texts, all are neighbours.
    assert statistic.neighbours_kept(ours[:3], theirs[:3], name="euclidean").tolist() == [1] * 3
    assert statistic.neighbours_kept(ours[:1], theirs[:1], name="euclidean").tolist() == [1]


def test_similarity_correlations_by_hand() -> None:
    # Texts at 0, 10, 40 and 90 degrees, and in the other set at 70 instead of 10.
    ours, theirs = (
        np.stack([np.cos(a), np.sin(a)], axis=1).astype(np.float32)
        for a in (np.deg2rad([0, 10, 40, 90]), np.deg2rad([0, 70, 40, 90]))
    )
    found = statistic.similarity_correlations(ours, theirs, name="cosine")
    # Ranks of the others, 3 the nearest. First text: 3 2 1 and 2 3 1. Second: 3 2 1 and 1 2 3.
    # Third: 2 3 1 in both. Fourth: 1 2 3 and 1 3 2.
    np.testing.assert_allclose(found, [0.5, -1, 1, 0.5], atol=1e-6)


def test_vectors_of_two_widths() -> None:
    wide = random(20, 8).astype(np.float32)
    narrow = np.hstack([wide, np.zeros((20, 3), np.float32)])
    found = statistic.similarity_correlations(wide, narrow, name="cosine")
    np.testing.assert_allclose(found, 1, atol=0.01)
    assert statistic.similarity_correlations(wide, -wide, name="dot").min() > 0.99
    assert statistic.neighbours_kept(wide, narrow, name="cosine").min() >= 0.9
    lone = statistic.similarity_correlations(wide[:1], wide[1:2], name="cosine")
    assert lone.tolist() == [1]
