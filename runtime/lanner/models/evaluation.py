"""Results that the evaluators of sentence-transformers write back to a model."""

from typing import Any


class ModelCardData:
    """The results of evaluators, which call `set_evaluation_metrics` on every model."""

    def __init__(self) -> None:
        #: Evaluator's name -> its metrics, in the order in which they were run.
        self.evaluations: dict[str, dict[str, float]] = {}

    def set_evaluation_metrics(
        self,
        evaluator: Any,
        metrics: dict[str, float],
        epoch: int = 0,
        step: int = 0,
    ) -> None:
        """Store the results of an evaluator of sentence-transformers, which calls this."""
        name = getattr(evaluator, "name", "") or type(evaluator).__name__
        self.evaluations[name] = dict(metrics)
