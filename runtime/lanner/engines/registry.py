"""The registry of engines: one record each, which selection, `lanner doctor`, tuning and help read.

A new engine is a module with its class, a record here, a test and a page of the documentation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import Variant
from lanner.engines.protocol import Engine
from lanner.errors import EngineError, LannerError, MissingExtraError, VariantError
from lanner.machine.gpu import missing_gpu, require_gpu
from lanner.machine.machine import TENSORRT_PACKAGES, has_module, package_version, this_machine

#: What `lanner.load(device=...)` takes, "auto" aside.
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The model file that an engine opens, and how it is to run it.

    Attributes:
        path: The variant's model file.
        precision: The variant's.
        threads: Cores to use.
        workers: How many batches run at once as a rule; each has ``threads // workers`` cores.
        max_tokens: The longest input that the model takes, or None where that is not known: up to
            there an engine may fill inputs up with tokens that are masked.
        build: What an engine of TensorRT was built for.
        device: Of `DEVICES`.
        inputs: The names of its inputs, for an engine that is built when it is opened.
        engine_cache: Where ONNX Runtime keeps the engines that it builds with TensorRT; None for
            its own kernels.
    """

    path: Path
    precision: str = "fp32"
    threads: int = 1
    workers: int = 1
    max_tokens: int | None = None
    build: EngineBuild | None = None
    device: str = "cpu"
    inputs: Sequence[str] = ()
    engine_cache: Path | None = None


def _never(_: Variant) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """All that Lanner knows of an engine before it is imported.

    Attributes:
        name: Its name in the manifest, in `lanner.load` and on the command line.
        title: Its name in sentences.
        extra: The extra that brings it.
        modules: The modules that the extra brings, the engine's own first.
        packages: The distributions that it may come in, of which one is enough.
        devices: Of `DEVICES`, where it runs; the first where nothing is said.
        model_format: ``"onnx"`` for every graph of an artifact, else a format of its own, which
            it shares with no other engine.
        best_precisions: Precisions for which ``"auto"`` prefers it to engines before it.
        refuse: Says why the machine cannot run it, whatever is installed; nothing where it can.
        batch_dependence: Says why its answers to a variant depend on the batch on this processor;
            nothing where they do not.
        open: Imports it and opens a model file.
    """

    name: str
    title: str
    extra: str
    modules: tuple[str, ...]
    packages: tuple[str, ...]
    devices: tuple[str, ...]
    open: Callable[[Opening], Engine]
    model_format: str = "onnx"
    best_precisions: frozenset[str] = frozenset()
    refuse: Callable[[], str] = str
    batch_dependence: Callable[[Variant], str] = _never

    @property
    def is_installed(self) -> bool:
        """True if its own module can be imported."""
        return has_module(self.modules[0])

    @property
    def version(self) -> str | None:
        """The installed version, or None."""
        return next(filter(None, map(package_version, self.packages)), None)

    @property
    def runs_graphs(self) -> bool:
        """True if it runs the graphs of an artifact, and not files that were made for it alone."""
        return self.model_format == "onnx"

    def runs(self, variant: Variant, device: str) -> bool:
        """True if it runs a variant's kind of file on that device."""
        made_for = find_engine(variant.engine)
        formats = made_for is not None and made_for.model_format == self.model_format
        return formats and device in self.devices

    def refusal(self) -> str:
        """Say why it does not run on this machine; nothing where it does."""
        if reason := self.refuse():
            return reason
        missing = [module for module in self.modules if not has_module(module)]
        return (
            f"missing {', '.join(missing)}: pip install 'lanner[{self.extra}]'" if missing else ""
        )


def _open_onnxruntime(opening: Opening) -> Engine:
    if opening.device == "cuda":
        require_gpu("onnxruntime on cuda")
        from lanner.engines.onnxruntime_cuda import CudaOnnxRuntimeEngine  # noqa: PLC0415 (an extra)

        return CudaOnnxRuntimeEngine(
            opening.path,
            precision=opening.precision,
            inputs=opening.inputs,
            max_tokens=opening.max_tokens,
            engine_cache=opening.engine_cache,
        )
    from lanner.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415 (an extra)

    return OnnxRuntimeEngine(
        opening.path,
        precision=opening.precision,
        threads=opening.threads,
        workers=opening.workers,
    )


def _open_openvino(opening: Opening) -> Engine:
    from lanner.engines.openvino import OpenVinoEngine  # noqa: PLC0415 (an extra)

    return OpenVinoEngine(
        opening.path,
        threads=opening.threads,
        workers=opening.workers,
        max_tokens=opening.max_tokens,
    )


def _openvino_dependence(variant: Variant) -> str:
    """Say why OpenVINO's answers depend on the batch on this processor.

    Without VNNI it makes the products of int8 in float32, where sums are added in another order for
    another shape, and a last bit can move a rounded activation to the next byte. With AVX2 alone,
    texts of all-MiniLM-L6-v2 keep a cosine of 0.9956 with themselves in another batch (0.9999 is
    asked for); in ONNX Runtime, whose sums are whole numbers, 1.0000.
    """
    has_ranges = variant.precision == "int8" and bool(variant.calibration)
    if not has_ranges or this_machine().has_fast_int8:
        return ""
    return (
        "its answers depend on the batch there on a processor without VNNI (a cosine of 0.9956 was "
        "measured)"
    )


def _open_tensorrt(opening: Opening) -> Engine:
    if opening.build is None:
        msg = (
            f"{opening.path} has no record of what it was built for: 'lanner build-engine' makes "
            "one"
        )
        raise EngineError(msg)
    # First of all: nothing that could be installed would help.
    require_gpu("the tensorrt engine")
    from lanner.engines.tensorrt.engine import TensorRtEngine  # noqa: PLC0415 (an extra)

    return TensorRtEngine(opening.path, opening.build)


def _refuse_tensorrt() -> str:
    if reason := missing_gpu():
        return f"it needs an NVIDIA GPU, and {reason}"
    from lanner.engines.tensorrt.library import tensorrt_version  # noqa: PLC0415 (needs a GPU)

    try:
        tensorrt_version()
    except LannerError as error:
        return str(error)
    return ""


ONNXRUNTIME = EngineRecord(
    name="onnxruntime",
    title="ONNX Runtime",
    extra="onnxruntime",
    modules=("onnxruntime",),
    packages=("onnxruntime", "onnxruntime-gpu"),
    devices=("cpu", "cuda"),
    open=_open_onnxruntime,
)
OPENVINO = EngineRecord(
    name="openvino",
    title="OpenVINO",
    extra="openvino",
    modules=("openvino",),
    packages=("openvino",),
    devices=("cpu",),
    # ONNX Runtime has no kernels for it on a CPU.
    best_precisions=frozenset({"bf16"}),
    batch_dependence=_openvino_dependence,
    open=_open_openvino,
)
TENSORRT = EngineRecord(
    name="tensorrt",
    title="TensorRT",
    extra="tensorrt",
    modules=("tensorrt", "cuda.bindings"),
    packages=("tensorrt", *TENSORRT_PACKAGES),
    devices=("cuda",),
    model_format="tensorrt",
    refuse=_refuse_tensorrt,
    open=_open_tensorrt,
)
#: Of those that run the same files, the fastest as a rule stands first. ONNX Runtime does: on a CPU
#: with VNNI OpenVINO runs int8 in 0.9 of its time where shapes come again, and takes 5 ms more for
#: each that is new, which is six texts' time, and more memory; fp32 takes as long in both.
ENGINES = (ONNXRUNTIME, OPENVINO, TENSORRT)


def engine_names() -> list[str]:
    """The names that `lanner.load(engine=...)` takes, "auto" aside."""
    return [engine.name for engine in ENGINES]


def find_engine(name: str) -> EngineRecord | None:
    """The record of an engine, or None where this Lanner has none of that name."""
    return next((engine for engine in ENGINES if engine.name == name), None)


def choose_engine(variant: Variant) -> str:
    """The engine that ``engine="auto"`` stands for on a CPU: the fastest that is installed.

    Raises:
        MissingExtraError: None is installed.
        EngineError: The only one that is installed would answer by the batch here.
    """
    able = [engine for engine in ENGINES if engine.runs(variant, "cpu")]
    if not able:
        return variant.engine
    able.sort(key=lambda engine: variant.precision not in engine.best_precisions)
    first, *others = [engine for engine in ENGINES if engine in able]
    found = next((engine for engine in able if engine.is_installed), None)
    if found is None:
        what, alternative = "running a model in process", others[0].extra if others else ""
        raise MissingExtraError(what, first.extra, first.modules[0], alternative=alternative)
    if reason := found.batch_dependence(variant):
        msg = (
            f"the variant {variant.name} is not run in {found.name} by itself, because {reason}: "
            f"pip install 'lanner[{first.extra}]', load fp32, or name engine={found.name!r}"
        )
        raise EngineError(msg)
    return found.name


def open_engine(
    name: str,
    path: Path,
    *,
    precision: str = "fp32",
    threads: int = 1,
    workers: int = 1,
    max_tokens: int | None = None,
    build: EngineBuild | None = None,
    device: str | None = None,
    inputs: Sequence[str] = (),
    engine_cache: Path | None = None,
) -> Engine:
    """Load a model file into the engine of that name.

    Args:
        name: Of `engine_names`.
        path: The variant's model file.
        precision: See `Opening`, as of the other arguments.
        threads: See `Opening`.
        workers: See `Opening`.
        max_tokens: See `Opening`.
        build: See `Opening`.
        device: One of its devices, or None for the first of them.
        inputs: See `Opening`.
        engine_cache: See `Opening`.

    Raises:
        VariantError: There is no such engine, or it does not run on that device.
        MissingExtraError: Its package is not installed.
        EngineError: It could not load the file, or this CPU lacks the precision of it, or this
            machine has no GPU for it.
    """
    engine = find_engine(name)
    if engine is None:
        msg = f"there is no engine {name!r}: use {', '.join(engine_names())} or 'auto'"
        raise VariantError(msg)
    device = engine.devices[0] if device is None else device
    if device not in engine.devices:
        msg = f"the engine {name} does not run on {device}: use {' or '.join(engine.devices)}"
        raise VariantError(msg)
    return engine.open(
        Opening(
            path=path,
            precision=precision,
            threads=threads,
            workers=workers,
            max_tokens=max_tokens,
            build=build,
            device=device,
            inputs=inputs,
            engine_cache=engine_cache,
        )
    )
