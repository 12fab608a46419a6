"""What the heads `score` and `classify` share: logits of texts or pairs."""

from collections.abc import Sequence
from typing import cast

import numpy as np
from tqdm import tqdm

from lanner.activation import ACTIVATIONS, Scores
from lanner.errors import InputError
from lanner.model import TEXTS_AT_ONCE, Model, require_batch_size
from lanner.runner import Sequences
from lanner.tokenization import Pair, Tokenizer, check_texts_or_pairs

TYPE_IDS = "token_type_ids"


class LogitsModel(Model):
    """A row of logits for each text or pair."""

    def logits(
        self,
        inputs: Sequence[str | Pair],
        *,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
    ) -> Scores:
        """What the graph answers, before its activation.

        Args:
            inputs: Texts, or pairs of them. What is longer than the model's limit is cut, of a
                pair the longer text first.
            batch_size: The most inputs in one batch; the token budget bounds it too.
            show_progress_bar: Whether to show progress on stderr; None is no.

        Returns:
            float32 [n, labels] in the order of the inputs.

        Raises:
            InputTypeError: An item is neither a string nor a pair; the message names its index.
            InputError: An item is not valid Unicode, or `batch_size` is less than 1.
        """
        require_batch_size(batch_size)
        tokenizer = cast("Tokenizer", self.tokenizer)
        has_types = TYPE_IDS in self.manifest.inputs
        logits = np.zeros((len(inputs), self.manifest.dimension), dtype=np.float32)
        with tqdm(total=len(inputs), unit="text", disable=not show_progress_bar) as progress:
            for start in range(0, len(inputs), TEXTS_AT_ONCE):
                try:
                    encodings = tokenizer.encode_pairs(
                        inputs[start : start + TEXTS_AT_ONCE], with_types=has_types
                    )
                except InputError:
                    check_texts_or_pairs(inputs)  # the message counts from the first of all
                    raise
                sequences = Sequences(
                    [encoding.ids for encoding in encodings],
                    [encoding.type_ids for encoding in encodings] if has_types else None,
                )
                for rows, block in self.runner.run(sequences, max_sequences=batch_size):
                    logits[rows + start] = block
                    progress.update(len(rows))
        return logits

    def activate(self, logits: Scores) -> Scores:
        """The scores that the checkpoint makes of logits, float32 of the same shape."""
        return ACTIVATIONS[self.manifest.activation](logits)
