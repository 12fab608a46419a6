"""The engine OpenVINO on the CPU, in exactly the precision of the variant.

Measured with all-MiniLM-L6-v2, the shipped sentences and OpenVINO 2026.4 on a Zen 5 (AVX-512 VNNI
and bf16), against float32 in ONNX Runtime; milliseconds on one core for 4 texts of 128 tokens,
medians of 25 interleaved rounds next to other work:

| variant | cosine, smallest and mean | alone or in a batch | ms |
|---|---|---|---|
| fp32 in float32 | 1.00000, 1.00000 | 1.000000 | 62.4 |
| fp32 in bf16, OpenVINO's own choice on such a CPU | 0.99993, 0.99999 | 0.999989 | 35.7 |
| bf16 | 0.99974, 0.99993 | 0.999972 | 35.3 |
| int8, the rest in float32 | 0.95942, 0.99281 | 1.000000 | 24.8 |
| int8, the rest in bf16 | 0.95905, 0.99279 | 1.000000 | 22.7 |
| int8 in ONNX Runtime | 0.95942, 0.99281 | 0.999999 | 26.6 |

So fp32 runs in float32, only a bf16 file runs in bf16, and the remaining operators of an int8 file
run in float32, like the measurements of its quality card.
"""

import ctypes
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from queue import LifoQueue
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from lanner.errors import EngineError, MissingExtraError
from lanner.machine.machine import this_machine
from lanner.machine.memory import return_free_memory

# oneDNN caches its 1,024 most recent kernels, half a megabyte each in int8; OpenVINO has its own
# cache (KERNELS_OF_WORKER, KERNELS_ALONE). oneDNN reads the variable when it makes its first
# kernel. A setting of the user's stays.
os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "0")
# Importing OpenVINO records the import in a file in the home directory and reports it to Intel.
# Without the telemetry package it uses a stub, so the package is hidden during the import. A module
# that is imported already stays.
_TELEMETRY = "openvino_telemetry"
_hides_telemetry = _TELEMETRY not in sys.modules
if _hides_telemetry:
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]
try:
    import openvino as ov
    from openvino.frontend import FrontEndManager
except ImportError as error:
    what = "the openvino engine"
    raise MissingExtraError(what, "openvino", "openvino") from error
finally:
    if _hides_telemetry:
        del sys.modules[_TELEMETRY]

# OpenVINO makes a table of numpy's types on first use, and waits for the interpreter lock
# meanwhile. Another thread may hold that lock and wait for the table. So the table is made here,
# before any thread starts.
ov.Tensor(np.zeros(1, np.int64)).data  # noqa: B018

#: The ONNX reader of 2026.0 does not know Attention, and that of 2026.2 silently gets it wrong:
#: vectors have a cosine of 0.3 with the right ones.
_OLDEST = (2026, 4)
#: Kernels of each kind that a stream caches for its most recent shapes. In int8 a shape takes about
#: ten kernels and 4 MB, and costs 5 ms when it is new; OpenVINO's own bound of 5,000 is too high.
#: Batches of similar lengths follow each other; single texts have any length, and are padded to few
#: shapes (`_alone_bucket`). With 32 and 256 kernels, and a shape for every length up to 32 tokens,
#: a single short text took a p50 of 2.00 and a p99 of 8.07 ms, now 1.63 and 2.62; bulk is as fast.
KERNELS_OF_WORKER, KERNELS_ALONE = 16, 128
#: Up to this length inputs are not padded; see `_bucket`.
_EXACT_TOKENS = 32
#: Runs between two returns of free memory to the system, which take 1 ms each. Freed kernels and
#: buffers leave holes in the heap that glibc keeps: over 100,000 texts of random length memory
#: grew by 28 %; with the returns it grows by 18 %.
_RUNS_PER_TRIM = 500
#: OpenVINO's fused attention sums in an order that depends on the padded length. In int8 a sum
#: that differs in its last bit can be rounded to another byte, and the vector of a text fell to a
#: cosine of 0.994 with itself in another batch. Attention in single operators gives the same bits
#: at any padding, and is about as fast (18.2 against 17.8 ms for 32 texts of 16 tokens, 22.5
#: against 21.9 ms for 4 of 128).
_UNFUSED = {"SNIPPETS_MODE": "DISABLE"}
#: Without VNNI, products of bytes saturate at 16 bits; compute them in float32 instead.
_WITHOUT_BYTES = {"LP_TRANSFORMS_MODE": False}
#: By default OpenVINO quantizes the inputs of products with byte weights that it runs in float32.
_AS_WRITTEN = {"DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}


class OpenVinoEngine:
    """A stream for each worker, and one on all cores for batches that run alone.

    The streams share one copy of the weights and have a request each; a caller takes a free
    request, or waits for one. A forked child, which lacks the threads of the streams, is refused.

    Args:
        path: An ONNX file.
        threads: Cores to use.
        workers: The number of streams.
        max_tokens: The longest input that the model takes, or None if there is no limit.
    """

    name = "openvino"
    #: See `lanner.engines.Engine`. The same as for ONNX Runtime in float32, and not more, because
    #: each new shape costs 5 ms.
    run_tokens = 12
    #: True once OpenVINO has threads in this process, or had them in one that this was forked from.
    has_threads = False

    def __init__(
        self, path: Path, *, threads: int = 1, workers: int = 1, max_tokens: int | None = None
    ) -> None:
        _require_version()
        OpenVinoEngine.has_threads = True
        with _kept_signal_stack():
            self._open(path, threads, workers)
        return_free_memory()
        self._max_tokens = max_tokens
        self._runs = count(1)
        self._pid = os.getpid()
        _ENGINES.add(self)

    def _open(self, path: Path, threads: int, workers: int) -> None:
        core = ov.Core()
        try:
            # read_model() would offer a damaged file to the readers of every other format.
            reader = FrontEndManager().load_by_framework("onnx")
            model = reader.convert(reader.load(str(path)))
            if not model.outputs:  # the result for an empty file
                msg = "it holds no graph"
                raise ValueError(msg)
            self._inputs = frozenset(value.any_name for value in model.inputs)
            config = _precision(model, core, path)
            self._alone = _requests(core, model, config, threads, 1)
            self._requests = self._alone
            if workers > 1:
                used = threads // workers * workers
                self._requests = _requests(core, model, config, used, workers)
            self._made = [*self._alone.queue, *self._requests.queue]
        except EngineError:
            raise
        except Exception as error:  # OpenVINO's own exceptions share no base but Exception
            msg = f"OpenVINO {_version()} could not load {path}: {_reason(error)}"
            raise EngineError(msg) from error

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`."""
        if self._pid != os.getpid():
            msg = (
                "OpenVINO does not work in a forked process: load the model in the process that "
                "uses it"
            )
            raise EngineError(msg)
        shapes = {tensor.shape for tensor in inputs.values()}
        # For a missing input a request would reuse its previous one.
        if inputs.keys() != self._inputs or len(shapes) != 1:
            given = {name: tensor.shape for name, tensor in inputs.items()}
            msg = (
                f"OpenVINO could not run the batch: it takes {', '.join(sorted(self._inputs))} of "
                f"one shape, not {given}"
            )
            raise EngineError(msg)
        length = shapes.pop()[1]
        # OpenVINO would read beyond the end of the table of positions.
        if self._max_tokens is not None and length > self._max_tokens:
            msg = f"OpenVINO could not run the batch: {length} tokens, at most {self._max_tokens}"
            raise EngineError(msg)
        filled = (_alone_bucket if is_alone else _bucket)(length, self._max_tokens)
        requests = self._alone if is_alone else self._requests
        request = requests.get()
        try:
            # Inputs are read in place; the output is copied, since the request reuses its memory.
            request.infer(_fill(inputs, filled - length), share_inputs=True, share_outputs=True)
            output: NDArray[np.float32] = request.get_output_tensor(0).data
            # An output per token has rows for the padding, too.
            return (output[:, :length] if output.ndim > 2 else output).copy()
        except Exception as error:
            msg = f"OpenVINO could not run the batch: {_reason(error)}"
            raise EngineError(msg) from error
        finally:
            requests.put(request)
            if not next(self._runs) % _RUNS_PER_TRIM:
                return_free_memory()

    def leave_threads_behind(self) -> None:
        """Keep a forked child's requests: destroying one would wait for threads it lacks."""
        # Not from the queues: a thread that the child lacks may have locked them.
        for request in self._made:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(request))


#: All engines of this process.
_ENGINES: "WeakSet[OpenVinoEngine]" = WeakSet()


def _after_fork() -> None:
    if not OpenVinoEngine.has_threads:
        return
    for engine in _ENGINES:
        engine.leave_threads_behind()
    # At the end of the process OpenVINO waits for its threads, but only the parent has them. So the
    # child ends without OpenVINO's cleanup. glibc's on_exit passes the status to _exit.
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(libc._exit, None)


os.register_at_fork(after_in_child=_after_fork)


class _SignalStack(ctypes.Structure):
    """The type stack_t of sigaltstack(2)."""

    _fields_ = (("address", ctypes.c_void_p), ("flags", ctypes.c_int), ("bytes", ctypes.c_size_t))


@contextmanager
def _kept_signal_stack() -> Iterator[None]:
    """Give the thread its own alternate signal stack back.

    On processors with AMX, OpenVINO's plugin registers a signal stack of its own in the thread that
    loads it. It unmaps that stack in whichever thread drops the last reference. A signal in between
    or afterwards would be handled on memory that does not exist.
    """
    set_stack = getattr(ctypes.CDLL(None), "sigaltstack", None)
    before = _SignalStack()
    if set_stack is None or set_stack(None, ctypes.byref(before)) != 0:
        yield
        return
    try:
        yield
    finally:
        set_stack(ctypes.byref(before), None)


def _precision(model: Any, core: Any, path: Path) -> dict[str, Any]:
    """Return the settings that make OpenVINO compute in the precision of the file.

    Raises:
        EngineError: This CPU lacks the precision.
    """
    operators = model.get_ops()
    types = {op.get_element_type() for op in operators if op.get_type_name() == "Constant"}
    msg = ""
    if ov.Type.bf16 in types:
        if this_machine().has_bf16:
            return {"INFERENCE_PRECISION_HINT": ov.Type.bf16}
        msg = "bf16 (avx512_bf16 or amx_bf16)"
    elif ov.Type.f16 in types:
        if "FP16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            return {"INFERENCE_PRECISION_HINT": ov.Type.f16}
        msg = "fp16"
    if msg:
        msg = f"{path} needs a CPU with {msg}, which this CPU lacks: load the variant fp32 or int8"
        raise EngineError(msg)
    config: dict[str, Any] = {"INFERENCE_PRECISION_HINT": ov.Type.f32}
    if any(op.get_type_name() == "FakeQuantize" for op in operators):
        config |= _UNFUSED if this_machine().has_fast_int8 else _UNFUSED | _WITHOUT_BYTES
    return config


def _requests(
    core: Any, model: Any, config: Mapping[str, Any], threads: int, streams: int
) -> LifoQueue[Any]:
    compiled = core.compile_model(
        model,
        "CPU",
        {
            **config,
            **_AS_WRITTEN,
            "NUM_STREAMS": streams,
            "INFERENCE_NUM_THREADS": threads,
            "CPU_RUNTIME_CACHE_CAPACITY": KERNELS_OF_WORKER if streams > 1 else KERNELS_ALONE,
            # `threads` counts logical cores; only the system knows which of them are free.
            "ENABLE_HYPER_THREADING": True,
            "ENABLE_CPU_PINNING": False,
        },
    )
    requests: LifoQueue[Any] = LifoQueue()  # the most recent one has its kernels cached
    for _ in range(streams):
        requests.put(compiled.create_infer_request())
    return requests


def _bucket(length: int, max_tokens: int | None) -> int:
    """Return the padded length of an input, at most 1/8 more, so that there are few shapes.

    It never exceeds the model's limit, where the table of positions may end.
    """
    if max_tokens is None or not _EXACT_TOKENS < length < max_tokens:
        return length
    step = 1 << ((length - 1).bit_length() - 4)
    return min(-(-length // step) * step, max_tokens)


def _alone_bucket(length: int, max_tokens: int | None) -> int:
    """Return the padded length of a single text: so few lengths that all kernels stay cached.

    Multiples of 4 up to 32 tokens, of 8 up to 64, and so on: at most 1/4 more.
    """
    if max_tokens is None or length >= max_tokens:
        return length
    step = 1 << max(2, (length - 1).bit_length() - 3)
    return min(-(-length // step) * step, max_tokens)


def _fill(inputs: Mapping[str, NDArray[np.int64]], count: int) -> dict[str, NDArray[np.int64]]:
    # The padding is zero in the attention mask as well, so it has no effect.
    if not count:
        return dict(inputs)
    return {name: np.pad(tensor, ((0, 0), (0, count))) for name, tensor in inputs.items()}


def _require_version() -> None:
    """Check that OpenVINO is new enough to give right answers.

    Raises:
        EngineError: OpenVINO is too old.
    """
    if tuple(int(part) for part in _version().split(".")[:2]) < _OLDEST:
        oldest = ".".join(map(str, _OLDEST))
        msg = (
            f"OpenVINO {_version()} gives wrong results for graphs with attention: "
            f"pip install 'openvino>={oldest}'"
        )
        raise EngineError(msg)


def _version() -> str:
    return str(ov.get_version()).partition("-")[0]


def _reason(error: Exception) -> str:
    # The message has lines of source locations first and the reason last.
    return next(filter(None, reversed(str(error).splitlines())), type(error).__name__).strip()
