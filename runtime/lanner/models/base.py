"""The base class of the models of all heads: an artifact's tokenizer and engine, loaded."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from lanner.artifact.empty_answers import empty_answers
from lanner.artifact.heads import HEADS
from lanner.artifact.manifest import Manifest, Variant
from lanner.errors import ArtifactError, EngineError, HeadError, InputError, UnsupportedError
from lanner.models.drop_in import ModelCardData
from lanner.models.inputs import require_count
from lanner.running.call import Call, Output, Rows
from lanner.running.monitored import Monitored
from lanner.running.runner import NotFiniteError, Runner, Sequences, UnknownTokenError
from lanner.text.lengths import CountsTokens
from lanner.text.long_texts import current_deadline_s
from lanner.text.tokenization import Pair, TextTokenizer

#: Inputs that are tokenised and sorted together: enough to fill batches of one length, few enough
#: that the token ids of a million texts are never in memory at once.
TEXTS_AT_ONCE = 8_192
#: Inputs of a large call that are tokenised first: they keep the workers busy meanwhile.
FIRST_TEXTS = 256
#: The most times that a call is restarted because its server exchanged the model meanwhile.
MOST_RENEWALS = 3
Answer = TypeVar("Answer")
ManyTexts = Iterable[str] | NDArray[np.str_]
Texts = str | ManyTexts


class Calls(Protocol):
    """The way to make a model's calls: once, or again if the model changed during the call."""

    def __call__(self, model: "Model", answer: Callable[[Runner], Answer]) -> Answer:
        """Return `answer(runner)` of one version of the model."""


def call_once(model: "Model", answer: Callable[[Runner], Answer]) -> Answer:
    """Return `answer(runner)`: a model in this process does not change."""
    return answer(model.runner)


class Model(Monitored, CountsTokens):
    """A loaded variant. Any number of threads may call it at once.

    `lanner.load` and `lanner.connect` make it. As a context manager it is closed at the end of the
    block. A pickled model opens its artifact or its server again where it is unpickled, if that is
    unchanged; copies are the model itself.
    """

    #: Where the tensors are that methods return; the engine may run on a GPU.
    device = "cpu"

    def __init__(
        self,
        *,
        manifest: Manifest,
        variant: Variant,
        tokenizer: TextTokenizer,
        runner: Runner,
        calls: Calls = call_once,
    ) -> None:
        self.manifest = manifest
        self.variant = variant
        self.tokenizer = tokenizer
        self._enter(runner)
        self._calls = calls
        source = manifest.source.get("checkpoint", manifest.name)
        self.model_card_data = ModelCardData(manifest.name, source, variant.name)
        #: Opens the same model again, in another process; None if nothing can.
        self.reopen: Callable[[], Model] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free what the model holds: its engine, or its connection. It answers nothing any more."""
        if isinstance(self.runner, _Closed):
            return
        end = getattr(self.runner.engine, "close", None)
        self.runner = cast("Runner", _Closed(self.manifest.name))
        if end is not None:
            end()

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _: object) -> Self:
        return self

    def __reduce__(self) -> tuple[Callable[..., "Model"], tuple[object, ...], dict[str, Any]]:
        if self.reopen is None:
            msg = (
                f"{self.manifest.name} cannot be pickled: open it with lanner.load in each process"
            )
            raise UnsupportedError(msg)
        return reopened, (self.reopen, self.manifest.checksum), self._settings()

    def _settings(self) -> dict[str, Any]:
        """Return the attributes that a caller may have set, for a copy in another process."""
        return {}

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({self.manifest.name!r}, variant={self.variant.name!r}, "
            f"engine={self.runner.engine.name!r}, workers={self.runner.workers})"
        )

    if not TYPE_CHECKING:  # which finds the methods of other heads missing by itself

        def __getattr__(self, name: str) -> object:
            """Name the model's head if a method of another head is missing."""
            if any(name in record.methods for record in HEADS.values()):
                raise self._lacking(name)
            msg = f"{type(self).__name__!r} object has no attribute {name!r}"
            raise AttributeError(msg)

    def _lacking(self, method: str) -> HeadError:
        return HeadError(
            f"{self.manifest.name} has the head {self.manifest.head!r}, which does not {method}: "
            f"call its {self.manifest.head_record.methods[0]}"
        )

    def _rows(
        self,
        inputs: list[Any],
        tokenize: Callable[[list[Any]], Sequences[Any]],
        check: Callable[[Sequence[object]], None],
        *,
        batch_size: int,
        show_progress_bar: bool | None,
        timeout_ms: float | None = None,
    ) -> NDArray[np.float32]:
        """Return the graph's output row of each input, float32 [n, dimension].

        Args:
            inputs: Texts or pairs.
            tokenize: Tokenises a group of inputs.
            check: Raises an error that names the first unusable input.
            batch_size: The most inputs in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr.
            timeout_ms: Milliseconds after which to give up, or None.

        Returns:
            The rows in the order of the inputs; those without tokens have the
            manifest's `empty_answer`.
        """
        deadline_s = deadline_after(timeout_ms)
        return self.of_one_version(
            lambda runner: self._rows_of(
                runner,
                inputs,
                tokenize,
                check,
                batch_size=batch_size,
                is_shown=bool(show_progress_bar),
                deadline_s=deadline_s,
            )
        )

    def _rows_of(self, runner: Runner, inputs: Any, split: Any, check: Any, **how: Any) -> Output:
        """Return the rows of one version; the arguments are those of `_collect`."""
        output = empty_answers(self.manifest, len(inputs))
        self._collect(runner, inputs, split, check, output.__setitem__, **how)
        return output

    def outputs(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> NDArray[np.float32]:
        """The graph's answer to each input, as a text model on a server gives it.

        Args:
            inputs: Texts or pairs, as the head takes them.
            batch_size: The most inputs in one batch; the token budget bounds it too.

        Raises:
            HeadError: The head answers with several tensors.
        """
        raise self._lacking("outputs")  # noqa: EM101 (the name of a method)

    def rows(self, inputs: Sequence[str | Pair], *, batch_size: int = 32) -> NDArray[np.float32]:
        """The answers as numbers, to compare two models by: vectors, or scores.

        Args:
            inputs: Texts or pairs, as the head takes them.
            batch_size: The most inputs in one batch; the token budget bounds it too.

        Returns:
            float32 [inputs, dimension]; of a head that answers for each token [tokens, dimension].
        """
        return self.outputs(inputs, batch_size=batch_size)

    def of_one_version(self, answer: Callable[[Runner], Answer]) -> Answer:
        """Return `answer(runner)`, from the beginning if what answers changes meanwhile.

        The function must tokenise its inputs itself: the tokenizer may have changed on a repeat.
        """
        return self._calls(self, answer)

    def _collect(
        self,
        runner: Runner,
        inputs: list[Any],
        tokenize: Callable[[list[Any]], Sequences[Any]],
        check: Callable[[Sequence[object]], None],
        keep: Callable[[Rows, Output], None],
        *,
        batch_size: int,
        is_shown: bool,
        deadline_s: float | None,
    ) -> None:
        """Call `keep` with the indices of the inputs of each batch, and the graph's answers."""
        if is_shown:
            with tqdm(total=len(inputs), unit="text") as bar:

                def shown(rows: Rows, block: Output) -> None:
                    keep(rows, block)
                    bar.update(len(rows))

                how: dict[str, Any] = {"batch_size": batch_size, "deadline_s": deadline_s}
                self._collect(runner, inputs, tokenize, check, shown, is_shown=False, **how)
            return

        def tokens(start: int, end: int) -> Sequences[Any]:
            before = current_deadline_s.set(deadline_s)
            try:
                return tokenize(inputs[start:end])
            except InputError:
                check(inputs)  # its message counts from the first of all inputs
                raise
            finally:
                current_deadline_s.reset(before)

        # A context manager, or a function that is not needed, costs a call of one text 2 us.
        if len(inputs) <= FIRST_TEXTS:
            sequences = tokens(0, len(inputs))
            try:
                for rows, block in runner.run(
                    sequences, max_sequences=batch_size, deadline_s=deadline_s
                ):
                    keep(rows, block)
            except (UnknownTokenError, NotFiniteError) as error:
                raise of_text(error, self.manifest.name, error.row) from None
            return

        def collect(start: int, answers: Iterable[tuple[Rows, Output]]) -> None:
            with finite_answers(self.manifest.name, lambda row: start + row):
                for rows, block in answers:
                    keep(rows + start, block)

        # The next group is tokenised while the workers run the previous one.
        started: deque[tuple[int, Call]] = deque()
        try:
            for start, end in _groups(len(inputs)):
                call = runner.start(
                    tokens(start, end),
                    max_sequences=batch_size,
                    deadline_s=deadline_s,
                    is_admitted=start > 0,
                )
                started.append((start, call))
                if len(started) > 1:
                    first, call = started.popleft()
                    collect(first, call.answers())
            while started:
                first, call = started.popleft()
                collect(first, call.answers())
        finally:
            for _, call in started:
                call.drop()

    @property
    def max_seq_length(self) -> int | None:
        """Longest input in tokens, special tokens included; None if there is no limit."""
        return self.manifest.tokenizer.max_tokens

    @max_seq_length.setter
    def max_seq_length(self, value: int | None) -> None:
        if value != self.max_seq_length:
            msg = (
                f"{self.manifest.name} reads at most {self.max_seq_length} tokens, not {value}: "
                "set max_seq_length in the checkpoint, and export it again"
            )
            raise UnsupportedError(msg)


def reopened(reopen: Callable[[], Model], checksum: str) -> Model:
    """Open a pickled model again, in the process that unpickles it.

    Args:
        reopen: Opens it.
        checksum: The checksum of its manifest when it was pickled.

    Raises:
        ArtifactError: The artifact or the model of the server is another one by now.
    """
    model = reopen()
    if model.manifest.checksum != checksum:
        model.close()
        msg = (
            f"{model.manifest.name} has changed since the model was pickled (its manifest is "
            f"{model.manifest.checksum[:12]}, then {checksum[:12]}): load it, and pickle it again"
        )
        raise ArtifactError(msg)
    return model


class _Closed:
    """The runner of a closed model."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, _: str) -> object:
        msg = f"{self._name} was closed: open it again with lanner.load or lanner.connect"
        raise EngineError(msg)


@contextmanager
def finite_answers(name: str, text_of: Callable[[int], int]) -> Iterator[None]:
    """Name the text that has no finite answer, or a token that the model does not have.

    Args:
        name: The model's.
        text_of: Maps the row that an engine failed at to the index of a text.

    Raises:
        EngineError: There is such a text.
    """
    try:
        yield
    except (UnknownTokenError, NotFiniteError) as error:
        raise of_text(error, name, text_of(error.row)) from None


def of_text(error: UnknownTokenError | NotFiniteError, name: str, index: int) -> EngineError:
    """Return the error for the text that an engine failed at.

    Args:
        error: The error of the runner.
        name: The model's.
        index: The index of the text.
    """
    if isinstance(error, UnknownTokenError):
        return EngineError(
            f"the tokenizer of {name} makes the token {error.token_id} of the text at index "
            f"{index}, and its model has no such token: export the checkpoint again"
        )
    return EngineError(
        f"{name} answers NaN or an infinity to the text at index {index}: its weights are "
        "damaged, or overflow in this precision; export the checkpoint again, or take another "
        "variant"
    )


def _groups(count: int) -> Iterator[tuple[int, int]]:
    """Yield the first and the end index of each group of inputs that is tokenised at once."""
    start, end = 0, FIRST_TEXTS
    while start < count:
        yield start, min(end, count)
        start, end = end, end + TEXTS_AT_ONCE


def deadline_after(timeout_ms: float | None) -> float | None:
    """Return the deadline, by `time.monotonic`, of a call that begins now.

    Raises:
        InputError: `timeout_ms` is not a number above 0.
    """
    if timeout_ms is None:
        return None
    is_number = isinstance(timeout_ms, int | float | np.number) and not isinstance(timeout_ms, bool)
    if not (is_number and timeout_ms > 0 and math.isfinite(timeout_ms)):
        msg = f"timeout_ms must be a number of milliseconds above 0, not {timeout_ms}"
        raise InputError(msg)
    return time.monotonic() + timeout_ms / 1e3


def require_batch_size(batch_size: int) -> None:
    """Check the batch size.

    Raises:
        InputTypeError: `batch_size` is not a whole number.
        InputError: It is less than 1.
    """
    require_count("batch_size", batch_size)
