"""The engine ONNX Runtime on the CPU."""

import ctypes
import os
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from lanner.engines.onnx.file import without_weights
from lanner.engines.onnx.packed_weights import align_packed_weights
from lanner.engines.onnx.unsigned_weights import with_unsigned_weights
from lanner.errors import EngineError, MissingExtraError
from lanner.machine.machine import this_machine
from lanner.machine.memory import return_free_memory

# Telemetry is on by default: it writes files into the user's home and sends events to Microsoft.
# A setting of the user's stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError
except ImportError as error:
    what = "the onnxruntime engine"
    raise MissingExtraError(what, "onnxruntime", "onnxruntime") from error

#: The first that runs Attention and QuantizeLinear of operator set 23.
_OLDEST = (1, 24, 1)
#: Fusions of ONNX Runtime that make a BERT graph slower on a CPU. Measured on 1,007 tokens of
#: all-MiniLM-L6-v2 with one thread, ORT 1.31, Zen 5: the 12 SkipLayerNormalization nodes take
#: 18.7 ms where Add and LayerNormalization take 3.5 ms together, and the 6 BiasGelu nodes take
#: 7.2 ms where Add and Gelu take 5.5 ms.
SLOW_FUSIONS = ("SkipLayerNormFusion", "BiasGeluFusion")
#: The fixed cost of a run, in tokens: the first for int8, the second for other precisions. Next to
#: a busy thread of Zen 5, runs of 1 and of 32 texts of 16 tokens take 0.84 and 19.9 ms in int8, 3.7
#: and 50.5 ms in fp32: in int8 a run costs as much as 6 tokens. With 0, 1, 2 and 4, 16 concurrent
#: callers got 2,163, 2,218, 2,214 and 2,161 texts per second, at a p99 of 2.24, 2.39, 2.54 and 2.61
#: times the p50. On Sapphire Rapids with AMX a run costs as much as 11 tokens: with 3 in the place
#: of 0, 4, 16 and 64 callers got 1.02, 1.07 and 1.00 times the texts per second, for 0.94, 0.92 and
#: 1.03 times the CPU time a text. Where each run costs 6 to 15 tokens and callers wait for their
#: answers, 3 is the best of 0 to 8 by a simulation. In fp32, values from 8 to 32 are equally fast.
BYTE_RUN_TOKENS, RUN_TOKENS = 3, 12
_IN_BYTES = frozenset({"int8", "int8-dynamic"})
#: The file of the weights, next to an optimized graph.
WEIGHTS_FILE = "weights.bin"


def open_session(
    path: Path,
    *,
    threads: int = 1,
    save_optimized_to: Path | None = None,
    saves_weights: bool = False,
    saves_weights_apart: bool = False,
    is_optimized: bool = False,
    maps_weights: bool = False,
) -> "ort.InferenceSession":
    """Open an inference session with the settings that all of Lanner uses.

    Args:
        path: An ONNX file.
        threads: Threads of one call.
        save_optimized_to: The path to write the optimized graph to, or None.
        saves_weights: Write the weights next to it, in the layout of this CPU's kernels.
        saves_weights_apart: Write the weights next to it, as they are: more than 2 GB of them do
            not fit into its file.
        is_optimized: True if the file is a saved optimized graph.
        maps_weights: Map the weights instead of reading them into memory; the file must not change
            as long as the session is in use.

    Raises:
        EngineError: ONNX Runtime refused the file, or is too old.
    """
    require_version(_OLDEST, "onnxruntime")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Memory patterns are planned for every shape of a batch, keep their memory, and gain nothing:
    # 19.3 against 19.2 ms for 512 tokens of all-MiniLM-L6-v2, 1.12 against 1.13 ms for 12.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # warnings are about graph internals, not for users
    settings = {
        # Threads that spin while waiting for the next call take cores from other work.
        "session.force_spinning_stop": "1",
    }
    model: bytes | None = None
    if not this_machine().has_fast_int8:
        # Without VNNI the kernel for unsigned times signed bytes saturates at 16 bits; unsigned
        # weights are slower but exact. ONNX Runtime rewrites those that `_unsigned` cannot.
        settings["session.x64quantprecision"] = "1"
        model = _unsigned(path)
    if maps_weights and model is None:
        model = _mapped(path)
    if model is not None:
        settings["session.model_external_initializers_file_folder_path"] = str(path.parent)
    if save_optimized_to is not None:
        options.optimized_model_filepath = str(save_optimized_to)
        if not saves_weights:  # the kernels' layout of the weights would be for nothing
            settings["session.disable_prepacking"] = "1"
    if saves_weights:
        settings["session.save_external_prepacked_constant_initializers"] = "1"
    if saves_weights or saves_weights_apart:
        settings |= {
            "session.optimized_model_external_initializers_file_name": WEIGHTS_FILE,
            "session.optimized_model_external_initializers_min_size_in_bytes": "1024",
        }
    if is_optimized:
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    for key, value in settings.items():
        options.add_session_config_entry(key, value)
    try:
        session = ort.InferenceSession(
            str(path) if model is None else model,
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(SLOW_FUSIONS),
        )
    except NoKernelError as error:
        reason = first_line(error).rpartition(" : ")[2]
        msg = (
            f"ONNX Runtime {ort.__version__} cannot run {path} on a CPU ({reason}): it needs a "
            "GPU, so load another variant"
        )
        raise EngineError(msg) from error
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        msg = f"ONNX Runtime {ort.__version__} could not load {path}: {first_line(error)}"
        raise EngineError(msg) from error
    # The session would keep the whole file in memory, for a restart with other providers.
    session._model_bytes = None
    return session


def _mapped(path: Path) -> bytes | None:
    """Return the model with its weights in the file, if it can be read."""
    try:
        return without_weights(path)
    except (OSError, ValueError, IndexError):
        return None  # ONNX Runtime's own error says why


def _unsigned(path: Path) -> bytes | None:
    """Return the model with unsigned weights, if it has signed ones and can be read."""
    try:
        return with_unsigned_weights(path)
    except OSError:
        return None  # ONNX Runtime's own error says why


class OnnxRuntimeEngine:
    """A session shared by all workers, and one on all cores for batches that run alone.

    With all-MiniLM-L6-v2 in int8 on 1 and 2 cores of a Zen 5, a text of 16 tokens takes 0.81 and
    0.60 ms, a text of 128 tokens 6.2 and 3.6 ms; calls of one short text have a p50 of 0.83 and
    0.70 ms and a p99 of 1.91 and 1.36 ms. If the second core is busy or slow to wake, both take
    about as long.

    A session is thread-safe, so workers share one. Both sessions map one copy of the weights, in
    the layout of this CPU's kernels, from a file that is already deleted.

    Args:
        path: The variant's model file.
        precision: The precision of weights and matrix products.
        threads: Cores to use.
        workers: The usual number of batches at once; each has ``threads // workers`` cores.
        maps_weights: Map the weights of a single session from the file, which must not change.
    """

    name = "onnxruntime"

    def __init__(
        self,
        path: Path,
        *,
        precision: str = "fp32",
        threads: int = 1,
        workers: int = 1,
        maps_weights: bool = False,
    ) -> None:
        self._path, self._maps_weights = path, maps_weights
        self._worker_threads, self._threads = max(1, threads // workers), threads
        self.run_tokens = BYTE_RUN_TOKENS if precision in _IN_BYTES else RUN_TOKENS
        self._open()
        _ENGINES.add(self)

    def _open(self) -> None:
        self._is_open = True
        if self._threads == self._worker_threads:
            self._session = self._alone = open_session(
                self._path, threads=self._threads, maps_weights=self._maps_weights
            )
        else:
            shared = _open_shared(self._path, self._worker_threads, self._threads)
            self._session, self._alone = shared
        return_free_memory()

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`."""
        if not self._is_open:
            self._open()
        session = self._alone if is_alone else self._session
        try:
            outputs: list[Any] = session.run(None, dict(inputs))
        except Exception as error:
            msg = f"ONNX Runtime could not run the batch: {first_line(error)}"
            raise EngineError(msg) from error
        result: NDArray[np.float32] = outputs[0]
        return result

    def leave_threads_behind(self) -> None:
        """Abandon the sessions in a forked child, which lacks their threads.

        The sessions must neither be used nor destroyed: they would wait for their threads.
        """
        for session in (self._session, self._alone) if self._threads > 1 else ():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
            self._is_open = False


#: All engines of this process.
_ENGINES: "WeakSet[OnnxRuntimeEngine]" = WeakSet()


def _after_fork() -> None:
    for engine in _ENGINES:
        engine.leave_threads_behind()


os.register_at_fork(after_in_child=_after_fork)


def _open_shared(path: Path, *threads: int) -> "list[ort.InferenceSession]":
    """Open sessions, one for each number of threads, over one copy of the weights.

    The weights are laid out once, written to a temporary file and mapped by each session; see
    ``session.save_external_prepacked_constant_initializers`` in
    onnxruntime_session_options_config_keys.h. If the disk has no room for the file, or another
    release writes it otherwise, each session has weights of its own.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="lanner-") as directory:
            saved = Path(directory) / "model.onnx"
            open_session(path, save_optimized_to=saved, saves_weights=True, maps_weights=True)
            if (weights := saved.with_name(WEIGHTS_FILE)).exists():
                align_packed_weights(saved, weights)
            return [open_session(saved, threads=n, is_optimized=True) for n in threads]
    except (OSError, EngineError, ValueError, IndexError):
        return [open_session(path, threads=n) for n in threads]


def require_version(oldest: tuple[int, ...], package: str) -> None:
    """Check that ONNX Runtime is new enough; an older one has errors of its own for a graph.

    Args:
        oldest: The parts of the oldest version.
        package: The distribution to install.

    Raises:
        EngineError: It is too old.
    """
    found = tuple(int(part) for part in re.findall(r"\d+", ort.__version__)[: len(oldest)])
    if found < oldest:
        needed = ".".join(map(str, oldest))
        msg = (
            f"ONNX Runtime {ort.__version__} is too old for the graphs of Lanner, which need "
            f"{needed}: pip install '{package}>={needed}'"
        )
        raise EngineError(msg)


def first_line(error: Exception) -> str:
    """Return ONNX Runtime's message without the place in its sources."""
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
