"""Token sequences through an engine: batches of like lengths, on every core."""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lanner.batching import pad, plan_batches
from lanner.engines import Engine

#: The tensor that tells the texts of a pair apart; a graph has it only where its model takes it.
TYPE_IDS = "token_type_ids"


class Sequences(NamedTuple):
    """What the tokenizer made of some texts or pairs.

    Attributes:
        token_ids: The tokens of each.
        type_ids: Which text of a pair each token is of (0 or 1), or None where the graph does not
            take it.
        unpooled_tokens: How many tokens at the start of each are read but not pooled.
    """

    token_ids: Sequence[Sequence[int]]
    type_ids: Sequence[Sequence[int]] | None = None
    unpooled_tokens: int = 0

    @classmethod
    def of(cls, encodings: Sequence[Encoding], *, with_types: bool) -> Self:
        """What the `tokenizers` library made, with its token types or without."""
        return cls(
            [encoding.ids for encoding in encodings],
            [encoding.type_ids for encoding in encodings] if with_types else None,
        )


class Runner:
    """Runs sequences through one engine. Any number of threads may call it at once.

    Args:
        engine: What runs a batch.
        pad_token_id: The id that fills up shorter sequences.
        workers: How many batches run at once.
        token_budget: The most padded tokens in one batch.
    """

    def __init__(
        self, engine: Engine, *, pad_token_id: int, workers: int, token_budget: int
    ) -> None:
        self.engine = engine
        self.pad_token_id = pad_token_id
        self.workers = workers
        self.token_budget = token_budget
        # Made when first needed, and again after a fork, which leaves its threads behind.
        self._pool: tuple[int, ThreadPoolExecutor] | None = None
        self._pool_lock = threading.Lock()

    def run(
        self, sequences: Sequences, *, max_sequences: int
    ) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """The engine's answers, batch by batch, in whatever order batches are finished.

        Args:
            sequences: What to run. One without a single token is left out.
            max_sequences: The most sequences of a batch; the token budget bounds it too.

        Yields:
            Indices int64 [batch] of sequences, and their outputs float32 [batch, ...].
        """
        lengths = np.fromiter(map(len, sequences.token_ids), np.int64, len(sequences.token_ids))
        rows = np.flatnonzero(lengths)
        batches = [
            rows[batch]
            for batch in plan_batches(
                lengths[rows], token_budget=self.token_budget, max_texts=max_sequences
            )
        ]
        feeds = (feed(sequences, batch, self.pad_token_id) for batch in batches)
        run: Any = map if self.workers == 1 or len(batches) == 1 else self._workers().map
        yield from zip(batches, run(self.engine.run, feeds), strict=True)

    def _workers(self) -> ThreadPoolExecutor:
        # Each worker runs the engine on one core: independent batches scale better than one batch
        # that is cut across cores.
        with self._pool_lock:
            if self._pool is None or self._pool[0] != os.getpid():
                self._pool = os.getpid(), ThreadPoolExecutor(self.workers, "lanner")
            return self._pool[1]


def feed(
    sequences: Sequences, rows: Sequence[int] | NDArray[np.int64], pad_token_id: int
) -> Mapping[str, NDArray[np.int64]]:
    """The tensors of one batch, int64 [batch, longest] each.

    `attention_mask` is 1 for a token, 0 for filling, and 2 for a token that is read but not pooled.
    """
    ids, mask = pad([sequences.token_ids[row] for row in rows], pad_token_id)
    mask[:, : sequences.unpooled_tokens] *= 2
    tensors = {"input_ids": ids, "attention_mask": mask}
    if sequences.type_ids is not None:
        tensors[TYPE_IDS], _ = pad([sequences.type_ids[row] for row in rows], 0)
    return tensors
