"""The engine ONNX Runtime on an NVIDIA GPU: with its own kernels, or with TensorRT.

ONNX Runtime falls back to the CPU if a provider does not start or has no kernel for a node, and
only its log says so. Here both are errors. The options are documented in
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html.
"""

import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernelError

from lanner.artifact.buckets import default_buckets
from lanner.artifact.engine_build import Profile
from lanner.artifact.manifest import file_sha256
from lanner.engines.onnxruntime import first_line, require_version
from lanner.engines.tensorrt.library import tensorrt
from lanner.engines.tensorrt.provider import CUDA_OPTIONS, provider_options
from lanner.errors import EngineError, InputError, LannerError, MissingExtraError
from lanner.machine.machine import package_version

#: The first that runs Attention of operator set 23 on a GPU.
_OLDEST = (1, 25)
#: See `lanner.engines.tensorrt.engine.RUN_TOKENS`.
RUN_TOKENS = 640
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
#: Buffers of at most this many shapes are kept; the least recently used shape makes room.
_MOST_SHAPES = 64
#: Operators that ONNX Runtime runs on the CPU by choice: they compute shapes, a few numbers each.
_SHAPE_OPERATORS = {"Shape", "Size", "Range", "Reshape", "Expand", "Concat", "Slice", "Gather"}
_SHAPE_OPERATORS |= {
    "Squeeze",
    "Unsqueeze",
    "ConstantOfShape",
    "Equal",
    "Where",
    "ReduceProd",
    "Cast",
}
_SHAPE_OPERATORS |= {"Add", "Sub", "Mul", "Div", "Max", "Min"}
#: The longest text, if the model has no limit, and the most texts of the TensorRT profile.
_LONGEST_TOKENS, _MOST_TEXTS = 512, 128
#: The batch that TensorRT chooses kernels for, in texts; its length is that of the middle bucket.
_TYPICAL_TEXTS = 16


class CudaOnnxRuntimeEngine:
    """A session with buffers on the GPU: a set for each shape, and for each thread that uses it.

    Args:
        path: The variant's model file.
        precision: The precision of weights and matrix products.
        inputs: The names of the graph's inputs.
        max_tokens: The longest input that the model takes, or None if there is no limit.
        engine_cache: The directory of TensorRT's engines; None for ONNX Runtime's own kernels.
            TensorRT runs fp32 as TF32, and ONNX Runtime has no option against it
            (onnxruntime #26029).

    Raises:
        MissingExtraError: ONNX Runtime was installed without CUDA.
        EngineError: CUDA or TensorRT does not start, or cannot run the whole graph.
        InputError: The cache is not a directory.
    """

    name = "onnxruntime"
    run_tokens = RUN_TOKENS

    def __init__(
        self,
        path: Path,
        *,
        precision: str = "fp32",
        inputs: Sequence[str] = (),
        max_tokens: int | None = None,
        engine_cache: Path | None = None,
    ) -> None:
        providers = [(CUDA, {"device_id": "0", **CUDA_OPTIONS})]
        self._most_texts = None
        if engine_cache is not None:
            options = tensorrt_options(path, inputs, precision, max_tokens, engine_cache)
            providers.insert(0, (TENSORRT, options))
            self._most_texts = _MOST_TEXTS
        self._session = open_on_gpu(path, providers)
        self._output = self._session.get_outputs()[0].name
        self._lock = threading.Lock()
        #: Free buffers by shape, the most recently used shape last.
        self._free: OrderedDict[tuple[int, ...], list[Buffers]] = OrderedDict()

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`."""
        rows = len(next(iter(inputs.values())))
        most = self._most_texts or rows
        answers = [
            self._run({name: tensor[start : start + most] for name, tensor in inputs.items()})
            for start in range(0, rows, most)
        ]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        try:
            buffers = self._take(inputs)
            answer = buffers.run(inputs)
        except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
            msg = f"ONNX Runtime could not run the batch on the GPU: {first_line(error)}"
            raise EngineError(msg) from error
        self._give_back(buffers)
        return answer

    def _take(self, inputs: Mapping[str, NDArray[np.int64]]) -> "Buffers":
        shape = next(iter(inputs.values())).shape
        with self._lock:
            if free := self._free.get(shape):
                self._free.move_to_end(shape)
                return free.pop()
        return Buffers(self._session, inputs, self._output, "cuda")

    def _give_back(self, buffers: "Buffers") -> None:
        with self._lock:
            self._free.setdefault(buffers.shape, []).append(buffers)
            while len(self._free) > _MOST_SHAPES:
                self._free.popitem(last=False)


class Buffers:
    """The inputs of one shape on a device, bound to a session; one thread at a time.

    Args:
        session: The session.
        inputs: Tensors of the shape, int64 [batch, length].
        output: The name of the output to return.
        device: ``"cuda"`` or ``"cpu"``.
    """

    def __init__(
        self,
        session: "ort.InferenceSession",
        inputs: Mapping[str, NDArray[np.int64]],
        output: str,
        device: str,
    ) -> None:
        self.shape = next(iter(inputs.values())).shape
        self._session = session
        self._values = {
            name: ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(tensor), device, 0)
            for name, tensor in inputs.items()
        }
        self._binding = session.io_binding()
        for name, value in self._values.items():
            self._binding.bind_ortvalue_input(name, value)
        # The session allocates the output in its arena, which keeps freed memory.
        self._binding.bind_output(output, device, 0)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """Run tensors of this shape; return float32 [batch, ...]."""
        for name, tensor in inputs.items():
            self._values[name].update_inplace(np.ascontiguousarray(tensor))
        self._session.run_with_iobinding(self._binding)
        answer: NDArray[np.float32] = self._binding.copy_outputs_to_cpu()[0]
        return answer


def open_on_gpu(
    path: Path, providers: Iterable[tuple[str, dict[str, str]]]
) -> "ort.InferenceSession":
    """Open a session that runs on the GPU.

    Args:
        path: An ONNX file.
        providers: Names and options of the execution providers, the preferred first.

    Raises:
        MissingExtraError: The installed ONNX Runtime lacks a provider.
        EngineError: The CPU package was installed over the GPU package, a provider does not start,
            or nodes are left for the CPU.
    """
    wanted = [name for name, _ in providers]
    if not set(wanted) <= set(ort.get_available_providers()):
        what = "onnxruntime on cuda"
        if package_version("onnxruntime-gpu") and package_version("onnxruntime"):
            # Both packages have the same files, so one overwrites the other
            # (https://github.com/microsoft/onnxruntime/issues/26996).
            msg = (
                f"{what} needs onnxruntime-gpu alone, but onnxruntime is installed over it: "
                "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'lanner[gpu]'"
            )
            raise EngineError(msg)
        raise MissingExtraError(what, "gpu", "onnxruntime-gpu")
    require_version(_OLDEST, "onnxruntime-gpu")
    # CUDA and cuDNN may be in packages of their own. preload_dlls prints missing libraries, and
    # stdout is for results.
    with redirect_stdout(sys.stderr):
        ort.preload_dlls()
    if TENSORRT in wanted:
        # TensorRT may be in a package as well, whose import loads it; a system library also works.
        with suppress(LannerError):
            tensorrt()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # By default the Python API continues without a provider that fails.
        session = ort.InferenceSession(
            str(path), options, providers=[*providers, CPU], enable_fallback=0
        )
    except NoKernelError as error:
        reason = first_line(error).rpartition(" : ")[2]
        msg = (
            f"ONNX Runtime {ort.__version__} cannot run {path} on the GPU ({reason}): load another "
            "variant, or load with device='cpu'"
        )
        raise EngineError(msg) from error
    except Exception as error:  # ONNX Runtime's own exceptions share no base but Exception
        msg = f"ONNX Runtime {ort.__version__} could not load {path}"
        if TENSORRT in wanted:
            # TensorRT before 10.14 does not know Attention. Later versions run each Attention in a
            # kernel of its own, which does not exist for every precision.
            msg += (
                f" through TensorRT ({first_line(error)}): omit engine_cache, or build an "
                "engine with 'lanner build-engine'"
            )
        else:
            msg += f": {first_line(error)}"
        raise EngineError(msg) from error
    require_providers(session, wanted)
    require_kernels(session, path)
    return session


def require_providers(session: "ort.InferenceSession", wanted: Sequence[str]) -> None:
    """Check that a session has all the providers that were asked for.

    Raises:
        EngineError: A provider did not start.
    """
    started = session.get_providers()
    if CUDA in wanted and CUDA not in started:
        msg = (
            f"ONNX Runtime {ort.__version__} could not start CUDA and would have run on the CPU: "
            "install the CUDA and cuDNN that it was built for (pip install "
            "'onnxruntime-gpu[cuda,cudnn]') and a driver for it, or load with device='cpu'"
        )
        raise EngineError(msg)
    if TENSORRT in wanted and TENSORRT not in started:
        msg = (
            f"ONNX Runtime {ort.__version__} could not start TensorRT and would have run without "
            "it: install the major version that it is linked to (1.31 to TensorRT 10: pip install "
            "'tensorrt-cu13<11'), or omit engine_cache"
        )
        raise EngineError(msg)


def require_kernels(session: "ort.InferenceSession", path: Path) -> None:
    """Check that a session runs only shape computations on the CPU.

    Raises:
        EngineError: The GPU has no kernel for a node.
    """
    if left := left_for_the_cpu(session):
        msg = (
            f"ONNX Runtime {ort.__version__} would run part of {path} on the CPU "
            f"({', '.join(left)}): install a newer onnxruntime-gpu, load another variant, or load "
            "with device='cpu'"
        )
        raise EngineError(msg)


def left_for_the_cpu(session: "ort.InferenceSession") -> list[str]:
    """Return the operators that a session runs on the CPU, except those that compute shapes."""
    parts = session.get_provider_graph_assignment_info()
    on_cpu = [node for part in parts if part.ep_name == CPU for node in part.get_nodes()]
    return sorted({node.op_type for node in on_cpu} - _SHAPE_OPERATORS)


def tensorrt_options(
    path: Path, inputs: Sequence[str], precision: str, max_tokens: int | None, cache: Path
) -> dict[str, str]:
    """Return the options for TensorRT, which builds and caches one engine with one profile.

    Args:
        path: The graph.
        inputs: The graph's inputs, [batch, length] each.
        precision: The precision of the graph.
        max_tokens: The longest input.
        cache: The cache, in which each graph has a directory of its own.

    Raises:
        InputError: A file is in the place of the directory.
    """
    own = cache / file_sha256(path)[:16]
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"cannot use the engine cache {cache} ({error.strerror}): name another directory"
        raise InputError(msg) from None
    buckets = default_buckets(max_tokens or _LONGEST_TOKENS)
    profile = Profile(
        (1, 1), (_TYPICAL_TEXTS, buckets[len(buckets) // 2]), (_MOST_TEXTS, buckets[-1])
    )
    # The graph states its precision, but without the flag TensorRT 10 refuses its tensors.
    flag = {"fp16": {"trt_fp16_enable": "1"}, "bf16": {"trt_bf16_enable": "1"}}
    return {
        "device_id": "0",
        **provider_options(inputs, profile, own),
        **flag.get(precision, {}),
    }
