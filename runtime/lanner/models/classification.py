"""The head `classify`: labels a text or a pair."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, overload

import numpy as np

from lanner.artifact.activation import Scores
from lanner.models.inputs import require_count, require_number, text_list
from lanner.models.logits import LogitsModel
from lanner.text.lengths import INPUT_CHOICES, OnLongInput, require_on_long, tell_long
from lanner.text.tokenization import Pair, check_texts


@dataclass(frozen=True)
class Classification:
    """The result of a classifier for one text.

    Attributes:
        label: The label with the highest score.
        score: Its score.
        scores: Label -> score, highest first.
        labels: The labels that hold: for a multi-label classifier those whose score reaches the
            threshold (perhaps none), otherwise `label` alone.
    """

    label: str
    score: float
    scores: dict[str, float]
    labels: list[str]

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)


class ClassificationModel(LogitsModel):
    """A model that labels texts or pairs."""

    @property
    def is_multi_label(self) -> bool:
        """True if any number of labels may hold at once."""
        return self.manifest.activation == "sigmoid"

    @overload
    def classify(  # type: ignore[overload-overlap]
        self,
        texts: str,
        *,
        top_k: int | None = None,
        threshold: float = 0.5,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> Classification: ...

    @overload
    def classify(
        self,
        texts: Sequence[str | Pair],
        *,
        top_k: int | None = None,
        threshold: float = 0.5,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> list[Classification]: ...

    def classify(
        self,
        texts: str | Sequence[str | Pair],
        *,
        top_k: int | None = None,
        threshold: float = 0.5,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> Classification | list[Classification]:
        """Label texts or pairs.

        Args:
            texts: One text, or a sequence of texts or pairs (tuples of two).
            top_k: The number of highest scores to return, or None for all.
            threshold: The score from which a label of a multi-label classifier holds.
            batch_size: The most texts in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            on_long: ``"truncate"`` cuts a long text, of a pair the longer one first; ``"warn"``
                also logs how many were cut; ``"error"`` refuses it before anything runs.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            One `Classification` per text, in their order; for a single str one `Classification`.
            The scores are those of transformers' text-classification pipeline: softmax over the
            labels, a sigmoid each for a multi-label classifier, the logits for a regression.

        Raises:
            InputTypeError: An item is neither a text nor a pair; the message names its index.
            InputError: `top_k` is less than 1, a text is not valid Unicode, or there is no such
                `on_long`.
            TooLongError: `on_long` is ``"error"``, and a text is longer than the model's limit.
            UnsupportedError: A server tokenises, so that long texts are unknown here.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        if top_k is not None:
            require_count("top_k", top_k)
        require_number("threshold", threshold)
        single = isinstance(texts, str)
        inputs = [texts] if isinstance(texts, str) else text_list(texts, "classify")
        if not self.manifest.takes_pairs:
            check_texts(inputs)
        require_on_long(on_long, INPUT_CHOICES)
        tell_long(self.manifest.name, self.tokenizer, inputs, on_long)
        logits = self.logits(
            inputs,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            timeout_ms=timeout_ms,
        )
        answers = [self._answer(scores, top_k, threshold) for scores in self.activate(logits)]
        return answers[0] if single else answers

    def _answer(self, scores: Scores, top_k: int | None, threshold: float) -> Classification:
        labels = self.manifest.labels
        order = np.argsort(-scores, kind="stable")
        best = labels[order[0]]
        return Classification(
            label=best,
            score=float(scores[order[0]]),
            scores={labels[i]: float(scores[i]) for i in order[:top_k]},
            labels=[labels[i] for i in order if scores[i] >= threshold]
            if self.is_multi_label
            else [best],
        )
