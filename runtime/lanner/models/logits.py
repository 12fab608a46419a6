"""The base of the heads `score` and `classify`: logits of texts or pairs."""

from collections.abc import Sequence
from typing import Any, cast

from lanner.artifact.activation import ACTIVATIONS, Scores
from lanner.models.base import Model, require_batch_size
from lanner.models.inputs import text_list
from lanner.running.runner import TYPE_IDS, Sequences
from lanner.text.tokenization import Pair, PairTokenizer, check_texts_or_pairs


class LogitsModel(Model):
    """A model that gives a row of logits for each text or pair."""

    def logits(
        self,
        inputs: Sequence[str | Pair],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        timeout_ms: float | None = None,
    ) -> Scores:
        """Return the output of the graph, before the activation.

        Args:
            inputs: Texts, or pairs of them. Inputs longer than the model's limit are cut; in a
                pair the longer text is cut first.
            batch_size: The most inputs in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            float32 [n, labels] in the order of the inputs.

        Raises:
            InputTypeError: An item is neither a string nor a pair; the message names its index.
            InputError: An item is not valid Unicode, or `batch_size` is less than 1.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        require_batch_size(batch_size)
        with_types = TYPE_IDS in self.manifest.inputs

        def tokenize(some: list[str | Pair]) -> Sequences[Any]:
            tokenizer = cast("PairTokenizer", self.tokenizer)
            encodings = tokenizer.encode_pairs(some, with_types=with_types)
            return Sequences.of(encodings, with_types=with_types)

        return self._rows(
            text_list(inputs, "logits", "a sequence of texts or pairs"),
            tokenize,
            check_texts_or_pairs,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            timeout_ms=timeout_ms,
        )

    def outputs(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Scores:
        """See `Model.outputs`."""
        return self.logits(inputs, batch_size=batch_size)

    def rows(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> Scores:
        """See `Model.rows`."""
        return self.activate(self.logits(inputs, batch_size=batch_size))

    def activate(self, logits: Scores) -> Scores:
        """Apply the checkpoint's activation to logits; float32 of the same shape."""
        return ACTIVATIONS[self.manifest.activation](logits)
