"""The ways to run a model that `lanner_perf.gpu.bench` compares.

Only Lanner's own code is imported before a subject is used.
"""

import shutil
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines import open_engine
from lanner.errors import LannerError, MissingExtraError
from lanner.machine.machine import available_cores
from lanner_perf.gpu.files import Model
from lanner_perf.gpu.models import MOST_TOKENS, Inputs

Run = Callable[[Inputs], NDArray[np.float32]]
_COMPILERS = ("cc", "gcc", "clang")


class GpuSubject(NamedTuple):
    """One way to run a model.

    Attributes:
        name: Its name.
        precision: The precision of its matrix products.
        device: The device that it runs on.
        process: A name; subjects with the same name share a process. ``"torch"`` and ``"compiler"``
            are PyTorch.
        what: A description for people.
        missing: Returns the reason why it cannot run here; empty if it can.
        open: Loads a model.
    """

    name: str
    precision: str
    device: str
    process: str
    what: str
    missing: Callable[[], str]
    open: Callable[[Model], Run]

    @property
    def is_torch(self) -> bool:
        """True if PyTorch runs the subject."""
        return self.process in ("torch", "compiler")


def _nothing() -> str:
    return ""


def _missing_compiler() -> str:
    if find_spec("triton") is None:
        return "torch.compile needs the package 'triton', which is not installed"
    if not any(map(shutil.which, _COMPILERS)):
        return f"torch.compile needs a C compiler: none of {', '.join(_COMPILERS)} is installed"
    return ""


def _missing_provider(name: str) -> str:
    try:
        import onnxruntime as ort  # noqa: PLC0415 (an extra)

        is_there = name in ort.get_available_providers()
    except ImportError:
        is_there = False
    if is_there:
        return ""
    if name == "CPUExecutionProvider":
        return str(MissingExtraError("onnxruntime", "onnxruntime", "onnxruntime"))
    return str(MissingExtraError("onnxruntime on cuda", "gpu", "onnxruntime-gpu"))


def _missing_tensorrt() -> str:
    try:
        from lanner.engines.tensorrt import cuda  # noqa: F401, PLC0415 (an extra)
        from lanner.engines.tensorrt.library import tensorrt  # noqa: PLC0415

        tensorrt()
    except LannerError as error:
        return str(error)
    return ""


def _torch(
    model: Model, *, half: bool = True, compiles: bool = False, captures: bool = False
) -> Run:
    from lanner_perf.gpu.torch_models import GraphedTorchRun, TorchRun  # noqa: PLC0415 (torch)

    run = TorchRun(model.torch, device=model.device, half=half, compiles=compiles)
    return GraphedTorchRun(run) if captures else run


def _onnxruntime(model: Model, *, precision: str, by_tensorrt: bool = False) -> Run:
    from lanner_export.graph.tensors import INPUTS  # noqa: PLC0415

    engine = open_engine(
        "onnxruntime",
        model.onnx(precision),
        precision=precision,
        threads=available_cores(),
        max_tokens=MOST_TOKENS,
        device=model.device,
        inputs=INPUTS,
        engine_cache=model.directory if by_tensorrt else None,
    )
    return engine.run


def _by_tensorrt() -> str:
    # The package tensorrt loads the libraries of TensorRT, where ONNX Runtime then finds them.
    return _missing_provider("TensorrtExecutionProvider") or _missing_tensorrt()


def _tensorrt(model: Model) -> Run:
    path, build = model.engine()
    return open_engine("tensorrt", path, build=build).run


_on_cuda = partial(_missing_provider, "CUDAExecutionProvider")
_on_cpu = partial(_missing_provider, "CPUExecutionProvider")

#: PyTorch comes first, as people use it without Lanner; the subject that starts most slowly is
#: last.
SUBJECTS = (
    GpuSubject("torch-fp16", "fp16", "cuda", "torch", "PyTorch, fused attention", _nothing, _torch),
    GpuSubject(
        "torch-fp16-graph",
        "fp16",
        "cuda",
        "torch",
        "the same as a CUDA graph for each shape",
        _nothing,
        partial(_torch, captures=True),
    ),
    GpuSubject(
        "onnxruntime-fp32",
        "fp32",
        "cuda",
        "onnxruntime",
        "ONNX Runtime on CUDA, io-binding",
        _on_cuda,
        partial(_onnxruntime, precision="fp32"),
    ),
    GpuSubject(
        "onnxruntime-fp16",
        "fp16",
        "cuda",
        "onnxruntime",
        "ONNX Runtime on CUDA, io-binding",
        _on_cuda,
        partial(_onnxruntime, precision="fp16"),
    ),
    GpuSubject(
        "tensorrt-fp16",
        "fp16",
        "cuda",
        "tensorrt",
        "TensorRT, a profile for each length, CUDA graphs",
        _missing_tensorrt,
        _tensorrt,
    ),
    GpuSubject(
        "onnxruntime-tensorrt-fp16",
        "fp16",
        "cuda",
        "onnxruntime-tensorrt",
        "ONNX Runtime through TensorRT, io-binding",
        _by_tensorrt,
        partial(_onnxruntime, precision="fp16", by_tensorrt=True),
    ),
    GpuSubject(
        "torch-fp16-compiled",
        "fp16",
        "cuda",
        "compiler",
        "PyTorch compiled for any shape, as a CUDA graph for each",
        _missing_compiler,
        partial(_torch, compiles=True, captures=True),
    ),
    GpuSubject(
        "torch-fp32",
        "fp32",
        "cpu",
        "torch",
        "PyTorch, fused attention",
        _nothing,
        partial(_torch, half=False),
    ),
    GpuSubject(
        "onnxruntime-fp32",
        "fp32",
        "cpu",
        "onnxruntime",
        "ONNX Runtime on the CPU",
        _on_cpu,
        partial(_onnxruntime, precision="fp32"),
    ),
)


def subjects_of(device: str) -> dict[str, GpuSubject]:
    """Return the subjects of a device, by name."""
    return {subject.name: subject for subject in SUBJECTS if subject.device == device}
