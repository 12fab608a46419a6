"""ONNX Runtime on the CPU."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.errors import EngineError, MissingExtraError
from lanner.machine import this_machine

# On by default, it would write files into the user's home and send events to its maker. What the
# user has set stays.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
try:
    import onnxruntime as ort
    from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError
except ImportError as error:
    what = "the onnxruntime engine"
    raise MissingExtraError(what, "onnxruntime", "onnxruntime") from error

#: Fusions of ONNX Runtime that make a BERT graph slower on a CPU. Measured on 1,007 tokens of
#: all-MiniLM-L6-v2 with one thread, ORT 1.31, Zen 5: the 12 SkipLayerNormalization nodes take
#: 18.7 ms where Add and LayerNormalization take 3.5 ms together, and the 6 BiasGelu nodes take
#: 7.2 ms where Add and Gelu take 5.5 ms.
SLOW_FUSIONS = ("SkipLayerNormFusion", "BiasGeluFusion")


def open_session(
    path: Path, *, threads: int = 1, save_optimized_to: Path | None = None
) -> "ort.InferenceSession":
    """An inference session with the settings that all of Lanner uses.

    Args:
        path: An ONNX file.
        threads: Threads of one call.
        save_optimized_to: Where to write the graph as ONNX Runtime will run it, if anywhere.

    Raises:
        EngineError: ONNX Runtime refused the file.
    """
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # A pattern is planned anew for every shape of a batch, keeps its memory, and gains nothing:
    # 19.3 against 19.2 ms for 512 tokens of all-MiniLM-L6-v2, 1.12 against 1.13 ms for 12.
    options.enable_mem_pattern = False
    options.log_severity_level = 3  # its warnings speak of graph internals, not to our users
    if not this_machine().has_fast_int8:
        # Without VNNI the kernel for unsigned times signed bytes saturates at 16 bits; this one
        # makes the signed ones unsigned, which is slower and right.
        options.add_session_config_entry("session.x64quantprecision", "1")
    if save_optimized_to is not None:
        options.optimized_model_filepath = str(save_optimized_to)
    try:
        return ort.InferenceSession(
            str(path),
            options,
            providers=["CPUExecutionProvider"],
            disabled_optimizers=list(SLOW_FUSIONS),
        )
    except NoKernelError as error:
        reason = _first_line(error).rpartition(" : ")[2]
        msg = (
            f"ONNX Runtime {ort.__version__} cannot run {path} on a CPU ({reason}): it needs a "
            "GPU, so load another variant"
        )
        raise EngineError(msg) from error
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        msg = f"ONNX Runtime {ort.__version__} could not load {path}: {_first_line(error)}"
        raise EngineError(msg) from error


class OnnxRuntimeEngine:
    """A session for all workers, and one of all cores for what runs alone.

    A session is thread-safe, so workers share one, and with it one copy of the weights.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, threads: int = 1, workers: int = 1) -> None:
        self._session = open_session(path, threads=max(1, threads // workers))
        self._alone = open_session(path, threads=threads) if workers > 1 else self._session

    def run(
        self, inputs: Mapping[str, NDArray[np.int64]], *, is_alone: bool = False
    ) -> NDArray[np.float32]:
        """See `lanner.engines.Engine.run`."""
        session = self._alone if is_alone else self._session
        try:
            outputs: list[Any] = session.run(None, dict(inputs))
        except Exception as error:
            msg = f"ONNX Runtime could not run the batch: {_first_line(error)}"
            raise EngineError(msg) from error
        result: NDArray[np.float32] = outputs[0]
        return result


def _first_line(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
