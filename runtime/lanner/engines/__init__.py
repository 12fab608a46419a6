"""What runs a variant. Engines share one small protocol, so that the model need not know them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import Variant
from lanner.errors import EngineError, MissingExtraError, VariantError
from lanner.machine.gpu import require_gpu
from lanner.machine.machine import this_machine

#: Names that `lanner.load(engine=...)` takes, "auto" aside. Each is the name of its package and of
#: its extra, too.
ENGINES = ("onnxruntime", "openvino")


class Engine(Protocol):
    """Runs one variant. It may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The engine's name in the manifest and in `lanner.load`."""

    @property
    def run_tokens(self) -> int:
        """What a run costs beside its tokens, in tokens.

        Texts of different callers run together where filling them up to one length costs less.
        """

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """One batch, on the cores of one worker, so that workers do not get into each other's way.

        Args:
            inputs: The tensors that the manifest names, int64 [batch, length].
            is_alone: That nothing else runs or waits: the batch may take the cores of all workers,
                if that makes it faster. What comes meanwhile may be slowed down.
            deadline_s: When nobody waits for it any longer, by `time.monotonic`, or None. An engine
                in this process, where a batch takes milliseconds, need not look at it.

        Returns:
            The first output, float32 [batch, ...].

        Raises:
            EngineError: The engine failed; the message is its own.
        """


def choose_engine(variant: Variant) -> str:
    """What ``engine="auto"`` stands for: of the engines that are installed, the fastest as a rule.

    That is ONNX Runtime. On a CPU with VNNI OpenVINO runs int8 in 0.9 of its time where shapes come
    again, and takes 5 ms more for each that is new, which is six texts' time, and more memory; fp32
    takes as long in both. For bf16, which ONNX Runtime cannot run on a CPU, it is OpenVINO.

    Raises:
        MissingExtraError: None is installed.
        EngineError: OpenVINO alone is, and its answers would depend on the batch here.
    """
    if variant.engine not in ENGINES:
        return variant.engine
    best_first = reversed(ENGINES) if variant.precision == "bf16" else ENGINES
    found = next((name for name in best_first if find_spec(name) is not None), None)
    if found is None:
        what = "running a model in process"
        raise MissingExtraError(what, *ENGINES[:1] * 2, alternative=ENGINES[1])
    if reason := batch_dependence(found, variant):
        msg = (
            f"the variant {variant.name} is not run in {found} by itself, because {reason}: "
            f"pip install 'lanner[{ENGINES[0]}]', load fp32, or name engine={found!r}"
        )
        raise EngineError(msg)
    return found


def batch_dependence(engine: str, variant: Variant) -> str:
    """Return why an engine's answers depend on the batch on this processor; empty if they do not.

    Without VNNI OpenVINO makes the products of int8 in float32, where sums are added in another
    order for another shape, and a last bit can move a rounded activation to the next byte. With
    AVX2 alone, texts of all-MiniLM-L6-v2 keep a cosine of 0.9956 with themselves in another batch
    (0.9999 is asked for); in ONNX Runtime, whose sums are whole numbers, 1.0000.
    """
    has_ranges = variant.precision == "int8" and bool(variant.calibration)
    if engine == "openvino" and has_ranges and not this_machine().has_fast_int8:
        return (
            "its answers depend on the batch there on a processor without VNNI (a cosine of 0.9956 "
            "was measured)"
        )
    return ""


def open_engine(
    name: str,
    path: Path,
    *,
    precision: str = "fp32",
    threads: int = 1,
    workers: int = 1,
    max_tokens: int | None = None,
    build: EngineBuild | None = None,
    device: str = "cpu",
    inputs: Sequence[str] = (),
    engine_cache: Path | None = None,
) -> Engine:
    """Loads a model file into the engine of that name.

    Args:
        name: One of `ENGINES`, or ``"tensorrt"``.
        path: The variant's model file.
        precision: The variant's.
        threads: Cores to use.
        workers: How many batches run at once as a rule; each has ``threads // workers`` cores.
        max_tokens: The longest input that the model takes, or None where that is not known: up to
            there an engine may fill inputs up with tokens that are masked.
        build: What an engine of TensorRT was built for.
        device: ``"cpu"``, or ``"cuda"`` for ONNX Runtime on a GPU.
        inputs: The names of its inputs, for an engine that is built when it is opened.
        engine_cache: Where ONNX Runtime keeps the engines that it builds with TensorRT; None for
            its own kernels.

    Raises:
        VariantError: There is no such engine.
        MissingExtraError: Its package is not installed.
        EngineError: It could not load the file, or this CPU lacks the precision of it, or this
            machine has no GPU for it.
    """
    if name == "onnxruntime" and device == "cuda":
        require_gpu("onnxruntime on cuda")
        from lanner.engines.onnxruntime_cuda import CudaOnnxRuntimeEngine  # noqa: PLC0415 (an extra)

        return CudaOnnxRuntimeEngine(
            path,
            precision=precision,
            inputs=inputs,
            max_tokens=max_tokens,
            engine_cache=engine_cache,
        )
    if name == "onnxruntime":
        from lanner.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415 (an extra)

        return OnnxRuntimeEngine(path, precision=precision, threads=threads, workers=workers)
    if name == "openvino":
        from lanner.engines.openvino import OpenVinoEngine  # noqa: PLC0415 (an extra)

        return OpenVinoEngine(path, threads=threads, workers=workers, max_tokens=max_tokens)
    if name == "tensorrt":
        if build is None:
            msg = f"{path} has no record of what it was built for: 'lanner build-engine' makes one"
            raise EngineError(msg)
        # First of all: nothing that could be installed would help.
        require_gpu("the tensorrt engine")
        from lanner.engines.tensorrt.engine import TensorRtEngine  # noqa: PLC0415 (an extra)

        return TensorRtEngine(path, build)
    msg = f"there is no engine {name!r}: use {', '.join(ENGINES)}, tensorrt or 'auto'"
    raise VariantError(msg)
