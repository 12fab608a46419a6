"""The engine of Lanner's own CPU kernels: packed tokens, the same bits in every batch."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines.native import INSTRUCTIONS_VARIABLE
from lanner.engines.native.embeddings import IDS, MASK, TYPES
from lanner.engines.native.plan import STARTS, Pooling, Tensor
from lanner.engines.native.reading import take_plan
from lanner.errors import EngineError, MissingExtraError

try:
    import lanner_native
except ImportError as error:
    what = "the native engine"
    raise MissingExtraError(what, "native", "lanner_native") from error

#: Of ``lanner_native.h``; it grows with what a plan can say. The one before lacks bfloat16, and
#: Dense layers before the pooling.
_OLDEST_INTERFACE, _INTERFACE = 2, 3


def _require_interface(oldest: int) -> None:
    """Check that the installed module can do what is asked of it.

    Raises:
        EngineError: It is older, or newer than this version of Lanner.
    """
    installed = getattr(lanner_native, "INTERFACE", 1)
    if not oldest <= installed <= _INTERFACE:
        msg = (
            f"the installed lanner-native has interface {installed}, and this version of Lanner "
            f"needs {_INTERFACE}: install the one beside it (make native)"
        )
        raise EngineError(msg)


_require_interface(_OLDEST_INTERFACE)


class InstructionSet(NamedTuple):
    """A set of kernels for one kind of processor.

    Attributes:
        name: The name, for example ``avx512_vnni``.
        is_compiled: True if the installed module has it.
        is_supported: True if this processor and system have it.
        is_correct: True if its self-test gave the bits of plain C++.
        has_bf16: True if this processor multiplies bfloat16, and the set has kernels for it.
        is_bf16_correct: True if their self-test gave the bits of plain C++.
    """

    name: str
    is_compiled: bool
    is_supported: bool
    is_correct: bool
    has_bf16: bool = False
    is_bf16_correct: bool = False

    @property
    def runs_here(self) -> bool:
        """True if the module and the processor have it."""
        return self.is_compiled and self.is_supported


def instruction_sets() -> list[InstructionSet]:
    """Return the instruction sets, the fastest first; the first call tests each in milliseconds."""
    return [InstructionSet(*found) for found in lanner_native.instruction_sets()]


class NativeEngine:
    """An encoder in Lanner's own kernels; any number of threads may call it.

    The answer to a text depends on the text alone: neither on the batch, nor on the number of
    threads, nor on the instruction set.

    Args:
        path: The variant's model file, which must not change while the engine is in use.
        threads: Cores to use.
        workers: The usual number of batches at once; each has ``threads // workers`` cores.
        is_per_token: Measure the scale of each token's int8 activations; False for the scales of
            the artifact, which ONNX Runtime takes.
        is_bf16: Round the weights of a float32 file's products, and what they multiply, to
            bfloat16.
        instruction_set: A name of `instruction_sets`; empty for that of `INSTRUCTIONS_VARIABLE`, or
            else for the fastest that this processor has and that passed its self-test.

    Raises:
        EngineError: The graph has something that the engine does not know, or no scales, or the
            processor lacks the instruction set, or bfloat16.
    """

    run_tokens = None

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        workers: int = 1,
        is_per_token: bool = True,
        is_bf16: bool = False,
        instruction_set: str = "",
    ) -> None:
        self.name = "native-bf16" if is_bf16 else "native" if is_per_token else "native-static"
        self._threads, self._worker_threads = threads, max(1, threads // workers)
        plan = take_plan(path)
        if not is_per_token and not plan.is_quantized():
            msg = f"{path} has no products in int8, so no scales: use engine='native'"
            raise EngineError(msg)
        if is_bf16 and plan.is_quantized():
            msg = f"{path} has products in int8, and bf16 is for float32: use variant='fp32'"
            raise EngineError(msg)
        if is_bf16 or plan.dense_before_pooling:
            _require_interface(_INTERFACE)
        tensors: dict[str, Tensor] = {
            name: np.ascontiguousarray(values)  # type: ignore[misc]  # of either kind
            for name, values in plan.tensors.items()
        }
        held = instruction_set or os.environ.get(INSTRUCTIONS_VARIABLE, "")
        try:
            self._model = lanner_native.Model(
                plan.config(),
                tensors,
                per_token=is_per_token,
                instruction_set=held,
                **({"bf16": True} if is_bf16 else {}),
            )
        except lanner_native.NativeError as error:
            msg = f"the native engine could not load {path}: {error.args[1]}"
            raise EngineError(msg) from error
        # The module has copied the tensors, and keeps the table of words, which it reads in place.
        self._plan = plan.without_tensors()

    @property
    def instruction_set(self) -> str:
        """The name of the instruction set in use."""
        return self._model.instruction_set

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch of packed texts, or of padded ones; see `lanner.engines.Engine.run`."""
        packed = inputs if STARTS in inputs else _packed(inputs)
        starts, plan = packed[STARTS], self._plan
        is_by_token = plan.pooling == Pooling.NONE
        rows = int(starts[-1]) if is_by_token else len(starts) - 1
        output = np.empty((rows, self._model.output_size), np.float32)
        types = packed[TYPES] if plan.takes_types else None
        threads = self._threads if is_alone else self._worker_threads
        try:
            self._model.run(packed[IDS], types, starts, output, threads)
        except lanner_native.NativeError as error:
            msg = f"the native engine could not run the batch: {error.args[1]}"
            raise EngineError(msg) from error
        output = output[:, : plan.dimension]
        return _by_text(output, starts, inputs.get(MASK)) if is_by_token else output


def _by_text(
    output: NDArray[np.float32], starts: NDArray[Any], mask: NDArray[Any] | None
) -> NDArray[np.float32]:
    """Return the rows of tokens by text, float32 [texts, longest, width]; zeros behind each."""
    lengths = np.diff(starts)
    longest = int(lengths.max(initial=0)) if mask is None else mask.shape[1]
    padded = np.zeros((len(lengths), longest, output.shape[1]), np.float32)
    padded[np.arange(longest) < lengths[:, None]] = output
    return padded


def _packed(inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[np.int32]]:
    """Return a padded batch as packed texts.

    Numbers beyond int32 become one that no table has, so that the core refuses them.
    """
    mask = inputs[MASK] > 0
    lengths = mask.sum(axis=1)
    _require_padding_behind(mask, lengths)
    starts = np.zeros(len(mask) + 1, np.int32)
    np.cumsum(lengths, out=starts[1:])
    most = np.iinfo(np.int32).max
    tensors = {n: np.clip(v[mask], -1, most).astype(np.int32) for n, v in inputs.items()}
    return {**tensors, STARTS: starts}


def _require_padding_behind(mask: NDArray[np.bool_], lengths: NDArray[np.int64]) -> None:
    """Check that each text has tokens, and padding behind them alone.

    Raises:
        EngineError: A text has none, or padding before or between its tokens.
    """
    if lengths.size and not lengths.min():
        row = int(lengths.argmin())
        msg = f"the attention mask hides all tokens of the text at index {row}: send at least one"
        raise EngineError(msg)
    is_behind = mask == (np.arange(mask.shape[1]) < lengths[:, None])
    if not is_behind.all():
        row = int((~is_behind.all(axis=1)).argmax())
        msg = (
            f"the attention mask of the text at index {row} hides tokens before or between others: "
            "the native engine takes padding behind the text alone"
        )
        raise EngineError(msg)
