import math

import pytest

from lanner.artifact.quality_budget import AGREEMENT_MEASURES, LABELLED_MEASURES, QualityBudget
from lanner.errors import UnsupportedError, UsageError


@pytest.mark.parametrize(
    ("text", "words", "needs_labels"),
    [
        ("spearman:0.3", "at most 0.3 points of Spearman lost", True),
        (" accuracy : 1 ", "at most 1 points of accuracy lost", True),
        ("f1:0", "at most 0 points of F1 lost", True),
        ("cosine:0.995", "a mean cosine of at least 0.995 with the checkpoint", False),
        (
            "neighbours@10:.98",
            "a mean share of kept nearest neighbours of at least 0.98 with the checkpoint",
            False,
        ),
        (
            "rank_correlation:.98",
            "a rank correlation of similarities of at least 0.98 with the checkpoint",
            False,
        ),
        ("agreement:1", "an agreement of at least 1 with the checkpoint", False),
    ],
)
def test_a_budget_in_words(text: str, words: str, needs_labels: bool) -> None:
    budget = QualityBudget.parse(text)
    assert str(budget) == words
    assert budget.needs_labels == needs_labels


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"the budget '' is not MEASURE:BOUND with one of spearman, accuracy, f1, cosine, ne"),
        ("0.3", r"the budget '0.3' is not MEASURE:BOUND with one of .*, for example spearman:0.3"),
        ("spearman", r"the budget 'spearman' is not MEASURE:BOUND"),
        ("bleu:1", r"the budget 'bleu:1' is not MEASURE:BOUND with one of spearman"),
        ("spearman:", r"'spearman:' needs a number after the colon: the points x100 of Spearman"),
        ("spearman:0,3", r"'spearman:0,3' needs a number after the colon"),
        (
            "accuracy:-1",
            r"'accuracy:-1' needs .*, at least 0 and below 100, for example accuracy:0",
        ),
        ("f1:100", r"'f1:100' needs a number after the colon: the points x100 of F1 that may be"),
        ("f1:nan", r"'f1:nan' needs a number after the colon"),
        ("cosine:99.5", r"'cosine:99.5' needs .* the least agreement, above 0 and at most 1, for"),
        (
            "neighbours@10:0",
            r"'neighbours@10:0' needs a number .*, for example neighbours@10:0.995",
        ),
        (
            "neighbours:0.98",
            (
                r"the budget 'neighbours:0.98' asks for neighbours, which is called "
                r"rank_correlation now; neighbours@10:0.9 bounds the share of nearest"
            ),
        ),
        ("agreement:inf", r"'agreement:inf' needs a number after the colon"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        QualityBudget.parse(text)


def test_what_is_lost_and_what_is_reached() -> None:
    lost = QualityBudget.parse("spearman:0.25")
    assert lost.is_met(86.75, 86.5)
    assert lost.is_met(86.75, 90)
    assert not lost.is_met(86.75, 86.49)
    assert not lost.is_met(86.75, math.nan)
    reached = QualityBudget.parse("cosine:0.995")
    assert reached.is_met(1, 0.995)
    assert not reached.is_met(1, 0.9949)
    assert not reached.is_met(1, math.nan)


def test_labels_are_asked_for() -> None:
    QualityBudget.parse("spearman:1").require_labels(has_labels=True)
    QualityBudget.parse("cosine:0.9").require_labels(has_labels=False)
    with pytest.raises(
        UsageError,
        match=r"the budget f1:0.5 is measured against labels: pass them with --quality-data FILE, "
        r"or use cosine or neighbours@10 or rank_correlation or terms@20 or agreement, by the head",
    ):
        QualityBudget.parse("f1:0.5").require_labels(has_labels=False)


@pytest.mark.parametrize(
    ("head", "activation", "fitting"),
    [
        ("embed", "identity", ["spearman", "cosine", "neighbours@10", "rank_correlation"]),
        ("score", "sigmoid", ["spearman", "agreement"]),
        ("classify", "softmax", ["accuracy", "agreement"]),
        ("classify", "sigmoid", ["accuracy", "agreement"]),
        ("classify", "identity", ["spearman", "agreement"]),
        ("tag", "softmax", ["f1", "agreement"]),
        ("sparse", "identity", ["spearman", "cosine", "terms@20", "rank_correlation"]),
        ("tokens", "identity", ["spearman", "cosine", "rank_correlation"]),
    ],
)
def test_a_budget_fits_a_head(head: str, activation: str, fitting: list[str]) -> None:
    for measure in (*LABELLED_MEASURES, *AGREEMENT_MEASURES):
        budget = QualityBudget.parse(f"{measure}:0.5")
        if measure in fitting:
            budget.require_fits(head, activation)
            continue
        with pytest.raises(
            UnsupportedError,
            match=f"the budget {measure}:0.5 does not fit this checkpoint, which has the head "
            f"'{head}': use one of {', '.join(fitting)}",
        ):
            budget.require_fits(head, activation)
