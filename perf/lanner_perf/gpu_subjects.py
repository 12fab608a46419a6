"""The ways to run a model that `lanner_perf.gpu_bench` compares, and what is made of it for them.

Nothing but Lanner's own code is imported before a subject is asked for.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engine_build import EngineBuild
from lanner.engines import open_engine
from lanner.errors import BenchmarkError, LannerError, MissingExtraError
from lanner.gpu import require_gpu
from lanner.machine import available_cores
from lanner_perf.gpu_models import MOST_TOKENS, Inputs, Shape

if TYPE_CHECKING:
    from lanner_perf.gpu_torch import SentenceVectors

Run = Callable[[Inputs], NDArray[np.float32]]
_COMPILERS = ("cc", "gcc", "clang")


class Model:
    """A model, and what is made of it for the subjects that need more than PyTorch.

    Args:
        shape: Its shape.
        device: ``"cuda"``, or ``"cpu"``.
        directory: Where its files are made, once for all subjects and processes.
        most_texts: The largest batch that it is run with.
        lengths: The lengths in tokens that it is run with.
    """

    def __init__(
        self, shape: Shape, device: str, directory: Path, most_texts: int, lengths: Sequence[int]
    ) -> None:
        self.device = device
        self.directory = directory
        self._shape = shape
        self._most_texts = most_texts
        self._lengths = sorted(set(lengths))

    @cached_property
    def torch(self) -> "SentenceVectors":
        """The model in PyTorch, float32, on the CPU."""
        from lanner_perf.gpu_torch import random_model  # noqa: PLC0415 (torch)

        return random_model(self._shape)

    def onnx(self, precision: str) -> Path:
        """Its graph, ``"fp32"`` or ``"fp16"``, as `lanner export` writes it of a checkpoint.

        Raises:
            BenchmarkError: It could not be made, now or by a process before this one.
        """

        def write(path: Path) -> None:
            from lanner_export.graph import SentenceGraph, write_fp32  # noqa: PLC0415 (torch)
            from lanner_export.half_precision import write_half  # noqa: PLC0415 (onnx)
            from lanner_export.tensors import EMBEDDING, INPUTS  # noqa: PLC0415

            if precision == "fp32":
                # The modules of sentence-transformers look so.
                modules = (SimpleNamespace(auto_model=self.torch.encoder), self.torch.pooling)
                graph = SentenceGraph(modules, dimension=self._shape.hidden)
                write_fp32(graph, INPUTS, EMBEDDING, path)
            else:
                write_half(self.onnx("fp32"), path, precision)

        return self._made(f"model.{precision}.onnx", write)

    def engine(self) -> tuple[Path, EngineBuild]:
        """Its TensorRT engine in fp16, with a profile for each length, as `lanner build-engine`'s.

        Raises:
            BenchmarkError: It could not be built, now or by a process before this one.
            LannerError: There is no GPU, or no TensorRT.
        """
        from lanner.engines.tensorrt_library import tensorrt_version  # noqa: PLC0415
        from lanner_export.tensorrt.profiles import engine_profiles  # noqa: PLC0415

        gpu, version = require_gpu("TensorRT"), tensorrt_version()
        profiles = engine_profiles(
            "buckets", MOST_TOKENS, buckets=self._lengths, max_batch_size=self._most_texts
        )
        build = EngineBuild(gpu.name, gpu.compute_capability, version, profiles)

        def write(path: Path) -> None:
            from lanner_export.tensorrt.builder import build_engine  # noqa: PLC0415 (onnx)
            from lanner_export.tensorrt.graph import write_tensorrt_graph  # noqa: PLC0415
            from lanner_export.tensorrt.plan import BuildSettings, EnginePlan  # noqa: PLC0415
            from lanner_export.tensors import INPUTS  # noqa: PLC0415

            source = path.with_suffix(".onnx")
            graph = write_tensorrt_graph(self.onnx("fp32"), source, "fp16")
            plan = EnginePlan("fp16", graph, INPUTS, profiles, BuildSettings())
            build_engine(source, path, plan, lambda *_: None)

        return self._made(build.file_name("fp16"), write), build

    def _made(self, name: str, write: Callable[[Path], None]) -> Path:
        path = self.directory / name
        failed = path.with_suffix(".failed")
        if failed.exists():
            raise BenchmarkError(failed.read_text())
        if not path.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            beside = path.with_name(f"partial.{name}")
            try:
                write(beside)
            except Exception as error:
                msg = f"{name} could not be made: {one_line(error)}"
                failed.write_text(msg)
                raise BenchmarkError(msg) from error
            beside.rename(path)
        return path


class Subject(NamedTuple):
    """One way to run a model.

    Attributes:
        name: What it is called.
        precision: Of its matrix products.
        device: Where it runs.
        what: What it is, for people.
        missing: Why it cannot be run here; empty where it can.
        open: Loads a model.
    """

    name: str
    precision: str
    device: str
    what: str
    missing: Callable[[], str]
    open: Callable[[Model], Run]


def one_line(error: BaseException) -> str:
    """What an error says, on one line that is not endless; its kind where it says nothing."""
    return " ".join(str(error).split())[:300] or type(error).__name__


def _nothing() -> str:
    return ""


def _missing_compiler() -> str:
    if find_spec("triton") is None:
        return "torch.compile needs the package 'triton', which is not installed"
    if not any(map(shutil.which, _COMPILERS)):
        return f"torch.compile needs a C compiler ({', '.join(_COMPILERS)}), and there is none"
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
        from lanner.engines import cuda  # noqa: F401, PLC0415 (an extra)
        from lanner.engines.tensorrt_library import tensorrt  # noqa: PLC0415

        tensorrt()
    except LannerError as error:
        return str(error)
    return ""


def _torch(
    model: Model, *, half: bool = True, compiles: bool = False, captures: bool = False
) -> Run:
    from lanner_perf.gpu_torch import GraphedTorchRun, TorchRun  # noqa: PLC0415 (torch)

    run = TorchRun(model.torch, device=model.device, half=half, compiles=compiles)
    return GraphedTorchRun(run) if captures else run


def _onnxruntime(model: Model, *, precision: str, by_tensorrt: bool = False) -> Run:
    from lanner_export.tensors import INPUTS  # noqa: PLC0415

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


def _tensorrt(model: Model) -> Run:
    path, build = model.engine()
    return open_engine("tensorrt", path, build=build).run


_on_cuda = partial(_missing_provider, "CUDAExecutionProvider")
_by_tensorrt = partial(_missing_provider, "TensorrtExecutionProvider")
_on_cpu = partial(_missing_provider, "CPUExecutionProvider")

#: The first of a device is PyTorch, as one uses it without Lanner; what takes longest to begin is
#: the last.
SUBJECTS = (
    Subject("torch-fp16", "fp16", "cuda", "PyTorch, fused attention", _nothing, _torch),
    Subject(
        "torch-fp16-graph",
        "fp16",
        "cuda",
        "the same as a CUDA graph for each shape",
        _nothing,
        partial(_torch, captures=True),
    ),
    Subject(
        "onnxruntime-fp32",
        "fp32",
        "cuda",
        "ONNX Runtime on CUDA, io-binding",
        _on_cuda,
        partial(_onnxruntime, precision="fp32"),
    ),
    Subject(
        "onnxruntime-fp16",
        "fp16",
        "cuda",
        "ONNX Runtime on CUDA, io-binding",
        _on_cuda,
        partial(_onnxruntime, precision="fp16"),
    ),
    Subject(
        "onnxruntime-tensorrt-fp16",
        "fp16",
        "cuda",
        "ONNX Runtime through TensorRT, io-binding",
        _by_tensorrt,
        partial(_onnxruntime, precision="fp16", by_tensorrt=True),
    ),
    Subject(
        "tensorrt-fp16",
        "fp16",
        "cuda",
        "TensorRT, a profile for each length, CUDA graphs",
        _missing_tensorrt,
        _tensorrt,
    ),
    Subject(
        "torch-fp16-compiled",
        "fp16",
        "cuda",
        "PyTorch compiled for any shape, as a CUDA graph for each",
        _missing_compiler,
        partial(_torch, compiles=True, captures=True),
    ),
    Subject(
        "torch-fp32",
        "fp32",
        "cpu",
        "PyTorch, fused attention",
        _nothing,
        partial(_torch, half=False),
    ),
    Subject(
        "onnxruntime-fp32",
        "fp32",
        "cpu",
        "ONNX Runtime on the CPU",
        _on_cpu,
        partial(_onnxruntime, precision="fp32"),
    ),
)


def subjects_of(device: str) -> dict[str, Subject]:
    """The subjects of a device, by name."""
    return {subject.name: subject for subject in SUBJECTS if subject.device == device}
