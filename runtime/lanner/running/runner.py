"""Token sequences through an engine: batches of like lengths, on every core."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding

from lanner.engines import Engine
from lanner.running.batching import HANDOVER_TOKENS, LEAST_SHARE, pad, plan_batches
from lanner.running.scheduler import Batch, Call, Output, Rows, Scheduler

#: The tensor that tells the texts of a pair apart; a graph has it only where its model takes it.
TYPE_IDS = "token_type_ids"
#: The most calls that wait for one model, as a rule.
MAX_WAITING = 1_024


class Sequences(NamedTuple):
    """The tokenised form of some texts or pairs.

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
        """Sequences from the `tokenizers` library, with or without token types."""
        return cls(
            [encoding.ids for encoding in encodings],
            [encoding.type_ids for encoding in encodings] if with_types else None,
        )


#: Some sequences, and which of them.
Part = tuple[Sequences, Sequence[int] | Rows]


class Runner:
    """Runs sequences through one engine. Any number of threads may call it at once.

    Args:
        engine: What runs a batch.
        feed: Makes the tensors of a batch; see the function of this name.
        workers: How many batches run at once.
        token_budget: The most padded tokens in one batch.
        max_waiting: The most calls that wait while all workers are busy.
        least_share: The tokens of a call that are not cut for several workers.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        feed: Callable[[Sequence[Part]], Mapping[str, NDArray[Any]]],
        workers: int,
        token_budget: int,
        max_waiting: int = MAX_WAITING,
        least_share: int = LEAST_SHARE,
    ) -> None:
        self.engine = engine
        self.feed = feed
        self.workers = workers
        self.token_budget = token_budget
        self.max_waiting = max_waiting
        self.least_share = least_share
        self._scheduler: Scheduler | None = None
        self._scheduler_lock = threading.Lock()

    def run(
        self,
        sequences: Sequences,
        *,
        max_sequences: int,
        deadline_s: float | None = None,
        is_admitted: bool = False,
    ) -> Iterator[tuple[Rows, Output]]:
        """The engine's answers, batch by batch, in whatever order batches are finished.

        Args:
            sequences: What to run. One without a single token is left out.
            max_sequences: The most sequences of a batch; the token budget bounds it too.
            deadline_s: When to give up, by `time.monotonic`, or None.
            is_admitted: That it is part of something larger that was let in already: it waits
                however many others do.

        Yields:
            Indices int64 [batch] of sequences, and their outputs float32 [batch, ...].

        Raises:
            Overloaded: Too many calls wait already.
            DeadlineError: The deadline passes first.
            CancelledError: It was cancelled from elsewhere (`lanner.running.cancellation`).
            EngineError: The engine failed.
        """
        call = self._call(sequences, max_sequences, deadline_s, is_admitted=is_admitted)
        if call.batches:
            yield from self.scheduler.run(call)

    def start(
        self,
        sequences: Sequences,
        *,
        max_sequences: int,
        deadline_s: float | None = None,
        is_admitted: bool = False,
    ) -> Call:
        """`run` in the background: its `answers` are fetched later, or it is dropped."""
        call = self._call(sequences, max_sequences, deadline_s, is_admitted=is_admitted)
        self.scheduler.start(call)
        return call

    @property
    def scheduler(self) -> Scheduler:
        """The queue before the workers; a new one after a fork, which leaves threads behind."""
        if self._scheduler is None or self._scheduler.pid != os.getpid():
            with self._scheduler_lock:
                if self._scheduler is None or self._scheduler.pid != os.getpid():
                    self._scheduler = Scheduler(
                        self._run,
                        workers=self.workers,
                        token_budget=self.token_budget,
                        run_tokens=self.engine.run_tokens,
                        max_waiting=self.max_waiting,
                    )
        return self._scheduler

    def _call(
        self,
        sequences: Sequences,
        max_sequences: int,
        deadline_s: float | None,
        *,
        is_admitted: bool,
    ) -> Call:
        call = Call(
            sequences, most_rows=max_sequences, deadline_s=deadline_s, is_admitted=is_admitted
        )
        if len(sequences.token_ids) == 1:  # there is nothing to plan, and planning takes its time
            if length := len(sequences.token_ids[0]):
                call.batches.append(Batch(call, np.zeros(1, np.int64), length))
            return call
        lengths = np.fromiter(map(len, sequences.token_ids), np.int64, len(sequences.token_ids))
        rows = np.flatnonzero(lengths)
        lengths = lengths[rows]
        batches = plan_batches(
            lengths,
            token_budget=self.token_budget,
            max_texts=max_sequences,
            workers=self.workers,
            run_tokens=self.engine.run_tokens + HANDOVER_TOKENS,
            least_share=self.least_share,
        )
        # The first of a batch is the longest: they are planned by length.
        call.batches = deque(Batch(call, rows[batch], int(lengths[batch[0]])) for batch in batches)
        return call

    def _run(self, batches: Sequence[Batch], is_alone: bool) -> Output:
        tensors = self.feed([(batch.call.sequences, batch.rows) for batch in batches])
        # What several wait for is not given up when the first of them does.
        deadlines = [batch.call.deadline_s for batch in batches]
        latest_s = None if None in deadlines else max(filter(None, deadlines))
        return self.engine.run(tensors, is_alone=is_alone, deadline_s=latest_s)


def feed(parts: Sequence[Part], pad_token_id: int) -> Mapping[str, NDArray[np.int64]]:
    """The tensors of one batch, int64 [batch, longest] each.

    `attention_mask` is 1 for a token, 0 for filling, and 2 for a token that is read but not pooled.

    Args:
        parts: Sequences, and which of them; of one call or of several.
        pad_token_id: The id that fills up shorter sequences.
    """
    ids, mask = pad([some.token_ids[row] for some, rows in parts for row in rows], pad_token_id)
    start = 0
    for sequences, rows in parts:
        if sequences.unpooled_tokens:
            mask[start : start + len(rows), : sequences.unpooled_tokens] *= 2
        start += len(rows)
    tensors = {"input_ids": ids, "attention_mask": mask}
    if parts[0][0].type_ids is not None:
        types = [some.type_ids[row] for some, rows in parts for row in rows if some.type_ids]
        tensors[TYPE_IDS], _ = pad(types, 0)
    return tensors
