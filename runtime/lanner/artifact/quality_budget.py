"""A quality budget: the loss that a variant may have, in a measure that the user chooses."""

import math
from dataclasses import dataclass
from typing import Self

from lanner.artifact.heads import HEADS
from lanner.errors import UnsupportedError, UsageError

RANK_CORRELATION = "spearman"
#: The share of a text's nearest neighbours that a variant keeps, out of this many.
NEIGHBOURS = 10
NEIGHBOURS_KEPT = f"neighbours@{NEIGHBOURS}"
#: The rank correlation of a text's similarities to all others.
SIMILARITY_RANKS = "rank_correlation"
#: The share of a text's heaviest terms that a variant keeps, out of this many.
TERMS = 20
TERMS_KEPT = f"terms@{TERMS}"
#: Names of measures in older quality cards.
FORMER_NAMES = {"neighbours": SIMILARITY_RANKS}
#: Measures against labels, in points x100; a budget bounds the loss.
LABELLED_MEASURES = {RANK_CORRELATION: "Spearman", "accuracy": "accuracy", "f1": "F1"}
#: Measures of agreement with the checkpoint, up to 1; a budget is the least value.
AGREEMENT_MEASURES = {
    "cosine": "a mean cosine",
    NEIGHBOURS_KEPT: "a mean share of kept nearest neighbours",
    SIMILARITY_RANKS: "a rank correlation of similarities",
    TERMS_KEPT: "a mean share of kept terms",
    "agreement": "an agreement",
}


def labelled_measure_name(head: str, activation: str) -> str:
    """Return the labelled measure of a head; a regression has that of `score`."""
    measure, is_regression = HEADS[head].labelled_measure, activation == "identity"
    return RANK_CORRELATION if is_regression and measure == "accuracy" else measure


def agreement_measure_names(head: str) -> tuple[str, ...]:
    """Return the measures of a head that need no labels."""
    return tuple(HEADS[head].agreement_measures)


@dataclass(frozen=True)
class QualityBudget:
    """The loss that a variant may have; `str` says it in words.

    Attributes:
        measure: One of `LABELLED_MEASURES` or `AGREEMENT_MEASURES`; see
            `lanner_export.quality.measures`.
        bound: For a labelled measure the most points x100 that may be lost, for an agreement the
            least value.
    """

    measure: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse ``"spearman:0.3"``, a measure and its bound.

        Raises:
            UsageError: There is no such measure, or the bound is out of its range.
        """
        measure, colon, bound = (part.strip() for part in text.partition(":"))
        if measure in FORMER_NAMES:
            msg = (
                f"the budget {text!r} asks for {measure}, which is called {FORMER_NAMES[measure]} "
                f"now; {NEIGHBOURS_KEPT}:0.9 bounds the share of nearest neighbours that are kept"
            )
            raise UsageError(msg)
        if not colon or measure not in (*LABELLED_MEASURES, *AGREEMENT_MEASURES):
            names = ", ".join((*LABELLED_MEASURES, *AGREEMENT_MEASURES))
            msg = (
                f"the budget {text!r} is not MEASURE:BOUND with one of {names}, "
                "for example spearman:0.3 or cosine:0.995"
            )
            raise UsageError(msg)
        budget = cls(measure, _number(bound))
        is_labelled = budget.needs_labels
        within = 0 <= budget.bound < 100 if is_labelled else 0 < budget.bound <= 1
        if not within:  # in this form NaN fails
            expected = (
                f"the points x100 of {LABELLED_MEASURES[measure]} that may be lost, at least 0 and "
                f"below 100, for example {measure}:0.3"
                if is_labelled
                else f"the least agreement, above 0 and at most 1, for example {measure}:0.995"
            )
            msg = f"the budget {text!r} needs a number after the colon: {expected}"
            raise UsageError(msg)
        return budget

    @property
    def argument(self) -> str:
        """The budget in the form that `parse` reads."""
        return f"{self.measure}:{self.bound:.12g}"

    @property
    def needs_labels(self) -> bool:
        """True if the budget is measured against labels."""
        return self.measure in LABELLED_MEASURES

    def require_labels(self, *, has_labels: bool) -> None:
        """Check that there are labels if the budget needs them.

        Raises:
            UsageError: The budget needs labels, and there are none.
        """
        if self.needs_labels and not has_labels:
            msg = (
                f"the budget {self.argument} is measured against labels: pass them with "
                f"--quality-data FILE, or use {' or '.join(AGREEMENT_MEASURES)}, by the head"
            )
            raise UsageError(msg)

    def require_fits(self, head: str, activation: str) -> None:
        """Check that the measure fits the checkpoint.

        Args:
            head: The head of the checkpoint.
            activation: The activation; "identity" means a regression.

        Raises:
            UnsupportedError: The measure is for another head.
        """
        fitting = (labelled_measure_name(head, activation), *agreement_measure_names(head))
        if self.measure not in fitting:
            msg = (
                f"the budget {self.argument} does not fit this checkpoint, which has "
                f"the head {head!r}: use one of {', '.join(fitting)}"
            )
            raise UnsupportedError(msg)

    def is_met(self, checkpoint_value: float, value: float) -> bool:
        """Return whether a variant is within the budget.

        Args:
            checkpoint_value: The value of the checkpoint; agreement does not depend on it.
            value: The value of the variant. NaN is never within.
        """
        if self.needs_labels:
            return checkpoint_value - value <= self.bound
        return value >= self.bound

    def __str__(self) -> str:
        if self.needs_labels:
            return f"at most {self.bound:.12g} points of {LABELLED_MEASURES[self.measure]} lost"
        what = AGREEMENT_MEASURES[self.measure]
        return f"{what} of at least {self.bound:.12g} with the checkpoint"


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return math.nan
