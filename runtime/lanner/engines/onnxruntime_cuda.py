"""ONNX Runtime on an NVIDIA GPU: by its own kernels, or by TensorRT.

ONNX Runtime goes over to the CPU where a provider does not start or has no kernel for a node, and
says so in its log alone. Here both are errors.
https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html have the options.
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
from lanner.engines.onnxruntime import first_line
from lanner.engines.tensorrt.library import tensorrt
from lanner.engines.tensorrt.provider import CUDA_OPTIONS, provider_options
from lanner.errors import EngineError, InputError, LannerError, MissingExtraError
from lanner.machine.machine import package_version

#: See `lanner.engines.tensorrt.engine.RUN_TOKENS`.
RUN_TOKENS = 640
CUDA, TENSORRT, CPU = "CUDAExecutionProvider", "TensorrtExecutionProvider", "CPUExecutionProvider"
#: Buffers of so many shapes are kept; those of the shape that was used longest ago make room.
_MOST_SHAPES = 64
#: What ONNX Runtime runs on the CPU by choice: what computes shapes, a few numbers each.
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
#: The longest text that TensorRT is told of where the model has no limit, and the most texts.
_LONGEST_TOKENS, _MOST_TEXTS = 512, 128
#: What its kernels are chosen for, in texts; the length is that of the bucket in the middle.
_TYPICAL_TEXTS = 16


class CudaOnnxRuntimeEngine:
    """A session whose buffers stay on the GPU, a set for each shape and thread that uses it.

    Args:
        path: The variant's model file.
        precision: Of its weights and matrix products.
        inputs: The names of its inputs.
        max_tokens: The longest input that the model takes, or None where there is no limit.
        engine_cache: Where TensorRT's engines are kept; None for ONNX Runtime's own kernels. Of
            fp32 TensorRT makes TF32, which ONNX Runtime has no option against (onnxruntime #26029).

    Raises:
        MissingExtraError: ONNX Runtime was installed without CUDA.
        EngineError: CUDA or TensorRT does not start, or cannot run the whole of the graph.
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
        #: Free ones by shape, the shape that was used last at the end.
        self._free: OrderedDict[tuple[int, ...], list[Buffers]] = OrderedDict()

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """See `lanner.engines.Engine.run`."""
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
        session: What runs.
        inputs: Tensors of the shape, int64 [batch, length].
        output: The output that is answered.
        device: ``"cuda"``, or ``"cpu"``.
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
        # Where it lies is the session's own: its arena, which keeps what was freed.
        self._binding.bind_output(output, device, 0)

    def run(self, inputs: Mapping[str, NDArray[np.int64]]) -> NDArray[np.float32]:
        """The answer to tensors of this shape, float32 [batch, ...]."""
        for name, tensor in inputs.items():
            self._values[name].update_inplace(np.ascontiguousarray(tensor))
        self._session.run_with_iobinding(self._binding)
        answer: NDArray[np.float32] = self._binding.copy_outputs_to_cpu()[0]
        return answer


def open_on_gpu(
    path: Path, providers: Iterable[tuple[str, dict[str, str]]]
) -> "ort.InferenceSession":
    """A session that runs on the GPU.

    Args:
        path: An ONNX file.
        providers: Names and options of what runs it, the best first.

    Raises:
        MissingExtraError: ONNX Runtime was installed without one of them.
        EngineError: It was installed over the one with them, or one does not start, or nodes are
            left for the CPU.
    """
    wanted = [name for name, _ in providers]
    if not set(wanted) <= set(ort.get_available_providers()):
        what = "onnxruntime on cuda"
        if package_version("onnxruntime-gpu") and package_version("onnxruntime"):
            # Both have the same files; those of one are there
            # (https://github.com/microsoft/onnxruntime/issues/26996).
            msg = (
                f"{what} needs onnxruntime-gpu alone, and onnxruntime is installed over it: "
                "pip uninstall onnxruntime onnxruntime-gpu, then pip install 'lanner[gpu]'"
            )
            raise EngineError(msg)
        raise MissingExtraError(what, "gpu", "onnxruntime-gpu")
    # CUDA and cuDNN may lie in packages beside it. It prints what it misses; stdout is not ours.
    with redirect_stdout(sys.stderr):
        ort.preload_dlls()
    if TENSORRT in wanted:
        # So may TensorRT, which its own package loads; another than that is looked for, too.
        with suppress(LannerError):
            tensorrt()
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    try:
        # What Python's part of it does with a provider that fails is to go on without.
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
            # Before 10.14 it knows no Attention. Since then it runs each in a kernel of its own,
            # which it has not for every precision.
            msg += (
                f" through TensorRT ({first_line(error)}): leave engine_cache out, or build an "
                "engine with 'lanner build-engine'"
            )
        else:
            msg += f": {first_line(error)}"
        raise EngineError(msg) from error
    require_providers(session, wanted)
    require_kernels(session, path)
    return session


def require_providers(session: "ort.InferenceSession", wanted: Sequence[str]) -> None:
    """Refuses a session that goes without what was asked for.

    Raises:
        EngineError: A provider did not start.
    """
    started = session.get_providers()
    if CUDA in wanted and CUDA not in started:
        msg = (
            f"ONNX Runtime {ort.__version__} could not start CUDA, and would have run on the CPU: "
            "install the CUDA and cuDNN that it was built for (pip install "
            "'onnxruntime-gpu[cuda,cudnn]') and a driver as new, or load with device='cpu'"
        )
        raise EngineError(msg)
    if TENSORRT in wanted and TENSORRT not in started:
        msg = (
            f"ONNX Runtime {ort.__version__} could not start TensorRT, and would have run without: "
            "install the major version that it is linked to (1.31 to TensorRT 10: pip install "
            "'tensorrt-cu13<11'), or leave engine_cache out"
        )
        raise EngineError(msg)


def require_kernels(session: "ort.InferenceSession", path: Path) -> None:
    """Refuses a session that runs on the CPU more than what computes shapes.

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
    """The operators that a session runs on the CPU, beside those that compute shapes."""
    parts = session.get_provider_graph_assignment_info()
    on_cpu = [node for part in parts if part.ep_name == CPU for node in part.get_nodes()]
    return sorted({node.op_type for node in on_cpu} - _SHAPE_OPERATORS)


def tensorrt_options(
    path: Path, inputs: Sequence[str], precision: str, max_tokens: int | None, cache: Path
) -> dict[str, str]:
    """What ONNX Runtime tells TensorRT, which builds one engine of one profile and keeps it.

    Args:
        path: The graph.
        inputs: Its inputs, [batch, length] each.
        precision: The graph's.
        max_tokens: The longest input.
        cache: Where the engine is kept, in a directory of the graph's own.

    Raises:
        InputError: There is a file where the directory would be.
    """
    own = cache / file_sha256(path)[:16]
    try:
        own.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        msg = f"the engine cache {cache} cannot be used ({error.strerror}): name another directory"
        raise InputError(msg) from None
    buckets = default_buckets(max_tokens or _LONGEST_TOKENS)
    profile = Profile(
        (1, 1), (_TYPICAL_TEXTS, buckets[len(buckets) // 2]), (_MOST_TEXTS, buckets[-1])
    )
    # The graph carries its precision; without the flag TensorRT 10 refuses its tensors.
    flag = {"fp16": {"trt_fp16_enable": "1"}, "bf16": {"trt_bf16_enable": "1"}}
    return {
        "device_id": "0",
        **provider_options(inputs, profile, own),
        **flag.get(precision, {}),
    }
