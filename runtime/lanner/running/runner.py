"""The runner: token sequences through an engine, in batches of similar lengths, on every core."""

import math
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from itertools import accumulate, chain
from typing import Any, Generic, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines import STARTS, Engine
from lanner.errors import EngineError, ModelChangedError
from lanner.monitoring.models import RunFigures
from lanner.monitoring.traces import Trace
from lanner.running.batching import pad, plan_batches
from lanner.running.call import Batch, Call, Output, Rows
from lanner.running.defaults import HANDOVER_TOKENS, LEAST_SHARE, MAX_WAITING
from lanner.running.scheduler import Scheduler
from lanner.text.tokenization import Encoded, Item_co

#: NumPy may take several cores for the squares of more values than this.
_MOST_SQUARES = 8_192
#: The tensor that tells the texts of a pair apart; only some models take it.
TYPE_IDS = "token_type_ids"


class Sequences(NamedTuple, Generic[Item_co]):
    """The tokenised form of some texts or pairs.

    Attributes:
        items: What the feed of the runner reads of each text or pair, as a rule its token ids. The
            length of an item is its number of tokens.
        type_ids: The text of a pair (0 or 1) that each token belongs to, or None where the graph
            does not take it.
        unpooled_tokens: The number of tokens at the start of each that are read but not pooled.
        attended_tokens: The number of tokens of each that are read; those behind them are answered
            and read by none, as the expansion of a query is. None if all are read.
    """

    items: Sequence[Item_co]
    type_ids: Sequence[Sequence[int]] | None = None
    unpooled_tokens: int = 0
    attended_tokens: Sequence[int] | None = None

    @classmethod
    def of(cls, encodings: Sequence[Encoded[Item_co]], *, with_types: bool) -> "Sequences[Item_co]":
        """Return sequences from encodings of a tokenizer, with or without token types."""
        return cls(
            [encoding.ids for encoding in encodings],
            [encoding.type_ids for encoding in encodings] if with_types else None,
        )


class NotFiniteError(EngineError):
    """An engine answered NaN or an infinity.

    Attributes:
        row: To which of the sequences of a call.
    """

    def __init__(self, engine: str, row: int) -> None:
        super().__init__(f"{engine} answered NaN or an infinity to the input at index {row}")
        self.row = row


class UnknownTokenError(EngineError):
    """A sequence has a token that the model does not have.

    Attributes:
        token_id: The token.
        row: In which of the sequences of a call.
    """

    def __init__(self, token_id: int, row: int) -> None:
        super().__init__(f"the input at index {row} has the token {token_id}, which has no row")
        self.token_id, self.row = token_id, row


#: Sequences, and the indices of those meant.
Part = tuple[Sequences[Item_co], Sequence[int] | Rows]


class Runner:
    """Run sequences through one engine. Any number of threads may call it at once.

    Args:
        engine: The engine that runs a batch.
        feed: A function that makes the tensors of a batch, such as `feed` of this module.
        workers: The number of batches that run at once.
        token_budget: The most padded tokens in one batch, or tokens of packed texts.
        max_waiting: The most calls that wait while all workers are busy.
        least_share: Calls with fewer tokens than this are not split among workers.
        width: How wide the answer to a sequence, or to each of its tokens, must be; None for any.
        by_token: Whether each token of a sequence is answered.
        measures_overflow: True to hand out NaN and infinities, for an export that judges them.
    """

    def __init__(
        self,
        engine: Engine,
        *,
        feed: Callable[[Sequence[Part[Any]]], Mapping[str, NDArray[Any]]],
        workers: int,
        token_budget: int,
        max_waiting: int = MAX_WAITING,
        least_share: int = LEAST_SHARE,
        width: int | None = None,
        by_token: bool = False,
        measures_overflow: bool = False,
    ) -> None:
        self.engine = engine
        self.feed = feed
        self.workers = workers
        self.token_budget = token_budget
        self.max_waiting = max_waiting
        self.least_share = least_share
        self.width, self.by_token = width, by_token
        self.measures_overflow = measures_overflow
        #: The counts of batches.
        self.figures = RunFigures()
        self._scheduler: Scheduler | None = None
        self._scheduler_lock = threading.Lock()

    def run(
        self,
        sequences: Sequences[Any],
        *,
        max_sequences: int,
        deadline_s: float | None = None,
        is_admitted: bool = False,
    ) -> Iterator[tuple[Rows, Output]]:
        """Yield the engine's answers batch by batch, in the order in which batches finish.

        Args:
            sequences: The sequences to run. Empty ones are left out.
            max_sequences: The most sequences of a batch; the token budget bounds it too.
            deadline_s: The time by `time.monotonic` at which to give up, or None.
            is_admitted: True for a part of a larger call that was admitted already: it may wait
                even if the queue is full.

        Yields:
            Indices int64 [batch] of sequences, and their outputs float32 [batch, ...].

        Raises:
            Overloaded: Too many calls wait already.
            DeadlineError: The deadline passes first.
            CancelledError: Another thread cancelled the call (`lanner.running.cancellation`).
            EngineError: The engine failed.
        """
        call = self._call(sequences, max_sequences, deadline_s, is_admitted=is_admitted)
        if call.batches:
            yield from self.scheduler.run(call)

    def start(
        self,
        sequences: Sequences[Any],
        *,
        max_sequences: int,
        deadline_s: float | None = None,
        is_admitted: bool = False,
    ) -> Call:
        """Start `run` in the background; fetch the call's `answers` later, or drop it."""
        call = self._call(sequences, max_sequences, deadline_s, is_admitted=is_admitted)
        self.scheduler.start(call)
        return call

    @property
    def scheduler(self) -> Scheduler:
        """Return the queue before the workers: a new one after a fork, since forks lose threads."""
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

    def state(self) -> tuple[int, int, float]:
        """Return the batches that run, the calls that wait, and seconds that the oldest waits."""
        scheduler = self._scheduler
        if scheduler is None or scheduler.pid != os.getpid():
            return 0, 0, 0.0
        return (scheduler.running, *scheduler.waiting())

    def _call(
        self,
        sequences: Sequences[Any],
        max_sequences: int,
        deadline_s: float | None,
        *,
        is_admitted: bool,
    ) -> Call:
        call = Call(
            sequences, most_rows=max_sequences, deadline_s=deadline_s, is_admitted=is_admitted
        )
        self.plan(call)
        return call

    def plan(self, call: Call) -> None:
        """Give a call its batches."""
        sequences: Sequences[Sized] = call.sequences
        if len(sequences.items) == 1:  # one sequence is one batch: skip the planning
            if length := len(sequences.items[0]):
                call.batches.append(Batch(call, np.zeros(1, np.int64), length, length))
            return
        lengths = np.fromiter(map(len, sequences.items), np.int64, len(sequences.items))
        rows = np.flatnonzero(lengths)
        lengths = lengths[rows]
        run_tokens = self.engine.run_tokens
        batches = plan_batches(
            lengths,
            token_budget=self.token_budget,
            max_texts=call.most_rows,
            workers=self.workers,
            run_tokens=None if run_tokens is None else run_tokens + HANDOVER_TOKENS,
            least_share=self.least_share,
        )
        # The first row of a batch is its longest: see `plan_batches`.
        call.batches = deque(
            Batch(call, rows[batch], int(lengths[batch[0]]), int(lengths[batch].sum()))
            for batch in batches
        )

    def _run(self, batches: Sequence[Batch], is_alone: bool) -> Output:
        texts, tokens, traces = 0, 0, list[Trace]()
        for batch in batches:
            texts += len(batch.rows)
            tokens += batch.tokens
            if batch.call.trace is not None:
                traces.append(batch.call.trace)
        begin_s = time.perf_counter()
        try:
            if traces:
                with traces[0].batch(traces, engine=self.engine.name, texts=texts, tokens=tokens):
                    output = self._answer(batches, is_alone, texts)
            else:
                output = self._answer(batches, is_alone, texts)
        except ModelChangedError:
            raise
        except BaseException:
            self.figures.note_failure()
            raise
        spent_s = time.perf_counter() - begin_s
        self.figures.note(texts, tokens, spent_s, self.workers if is_alone else 1)
        return output

    def _answer(self, batches: Sequence[Batch], is_alone: bool, texts: int) -> Output:
        parts: list[Part[Any]] = []
        # A batch of several callers runs until the last of their deadlines.
        latest_s: float | None = 0.0
        for batch in batches:
            call = batch.call
            parts.append((call.sequences, batch.rows))
            if latest_s is not None:
                latest_s = None if call.deadline_s is None else max(latest_s, call.deadline_s)
        tensors = self.feed(parts)
        output = self.engine.run(tensors, is_alone=is_alone, deadline_s=latest_s)
        self._require_sound(output, batches, texts, tensors.get("attention_mask"))
        return output

    def _require_sound(
        self, output: Output, batches: Sequence[Batch], count: int, mask: NDArray[Any] | None
    ) -> None:
        """Refuse an answer that would be taken for another.

        Raises:
            NotFiniteError: It holds NaN or an infinity.
            EngineError: It is of another shape.
        """
        width = self.width or (output.shape[-1] if output.ndim else 0)
        dimensions = (2, 3) if self.width is None else (3 if self.by_token else 2,)
        if output.ndim not in dimensions or (len(output), output.shape[-1]) != (count, width):
            msg = (
                f"{self.engine.name} answered float32 {list(output.shape)} to {count} inputs, "
                f"where each must have a row of {width}: what it runs is not this model"
            )
            raise EngineError(msg)
        if self.measures_overflow or is_finite(output):
            return
        is_bad: NDArray[np.bool_] = np.logical_not(np.isfinite(output).all(axis=-1, keepdims=True))
        is_bad = is_bad[..., 0]
        if output.ndim == 3 and mask is not None:
            # Nobody reads what is answered to filling.
            length = min(is_bad.shape[1], mask.shape[1])
            is_bad = is_bad[:, :length] & (mask[:, :length] != 0)
        bad = np.flatnonzero(is_bad if output.ndim == 2 else is_bad.any(axis=1))
        if bad.size:
            rows = np.concatenate([batch.rows for batch in batches])
            raise NotFiniteError(self.engine.name, int(rows[bad[0]]))


def is_finite(values: NDArray[np.float32]) -> bool:
    """Return False if a value is NaN or an infinity; large values may also give False.

    The sum of the squares takes a fifth of the time of a sum without warnings, and says the same.
    """
    if values.size <= _MOST_SQUARES:
        return math.isfinite(np.vdot(values, values))
    return bool(np.isfinite(values).all())


def feed(
    parts: Sequence[Part[Sequence[int]]], pad_token_id: int, known_tokens: int | None = None
) -> Mapping[str, NDArray[np.int64]]:
    """Return the tensors of one batch, int64 [batch, longest] each.

    `attention_mask` is 1 for a token, 0 for padding, and 2 for a token that is read but not pooled,
    or by a model that answers each token answered but not read.

    Args:
        parts: Sequences and the indices of those meant, from one call or several.
        pad_token_id: The token id that fills shorter sequences.
        known_tokens: The rows of the model's table of tokens; None to take any token.

    Raises:
        UnknownTokenError: A token is beyond the table, which some engines would read as others.
    """
    items = _items(parts)
    ids, mask = pad(items, pad_token_id)
    if known_tokens is not None and _largest(items, ids) >= known_tokens:
        number = int(np.flatnonzero((ids >= known_tokens).any(axis=1))[0])
        raise _unknown_token(parts, number, int(ids[number].max()))
    start = 0
    for sequences, rows in parts:
        if sequences.unpooled_tokens:
            mask[start : start + len(rows), : sequences.unpooled_tokens] *= 2
        if sequences.attended_tokens is not None:
            for number, row in enumerate(rows, start):
                mask[number, sequences.attended_tokens[row] :] *= 2
        start += len(rows)
    tensors = {"input_ids": ids, "attention_mask": mask}
    if parts[0][0].type_ids is not None:
        types = [some.type_ids[row] for some, rows in parts for row in rows if some.type_ids]
        tensors[TYPE_IDS], _ = pad(types, 0)
    return tensors


def feed_packed(
    parts: Sequence[Part[Sequence[int]]], known_tokens: int | None = None
) -> Mapping[str, NDArray[np.int32]]:
    """Return the tensors of one batch of packed texts, int32 [tokens] each and `STARTS`.

    Args:
        parts: Sequences and the indices of those meant, from one call or several.
        known_tokens: The rows of the model's table of tokens; None to take any token.

    Raises:
        UnknownTokenError: A token is beyond the table.
    """
    items = _items(parts)
    starts = np.array([0, *accumulate(map(len, items))], np.int32)
    try:
        ids = _joined(items, int(starts[-1]))
        is_known = known_tokens is None or _largest(items, ids) < known_tokens
    except OverflowError:  # a token beyond int32
        is_known = False
    if not is_known:
        most = min(known_tokens or 2**31, 2**31) - 1
        number = next(n for n, item in enumerate(items) if max(item) > most)
        raise _unknown_token(parts, number, int(max(items[number])))
    tensors = {"input_ids": ids, STARTS: starts}
    if parts[0][0].type_ids is not None:
        types = [some.type_ids[row] for some, rows in parts for row in rows if some.type_ids]
        tensors[TYPE_IDS] = _joined(types, len(ids))
    return tensors


def _joined(items: Sequence[Sequence[int]], count: int) -> NDArray[np.int32]:
    if len(items) == 1:  # a list, or an array
        return np.array(items[0], np.int32)
    return np.fromiter(chain.from_iterable(items), np.int32, count)


def _largest(items: Sequence[Sequence[int]], ids: NDArray[Any]) -> int:
    """Return the largest token of sequences, or of their padding; `ids` is their tensor.

    Python finds the largest of a short list in a fifth of the time that NumPy takes.
    """
    if len(items) == 1 and isinstance(items[0], list):
        return max(items[0], default=0)
    return int(ids.max(initial=0))


def _items(parts: Sequence[Part[Item_co]]) -> list[Item_co]:
    return [some.items[row] for some, rows in parts for row in rows]


def _unknown_token(parts: Sequence[Part[Any]], number: int, token_id: int) -> UnknownTokenError:
    """Return the error for a token in the sequence of that number among all parts."""
    rows = np.concatenate([np.asarray(rows) for _, rows in parts])
    return UnknownTokenError(token_id, int(rows[number]))
