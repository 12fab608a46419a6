"""The registry of engines: one record each, which selection, `lanner doctor`, tuning and help read.

A new engine is a module with its class, a record here, a test and a page of the documentation.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from lanner.artifact.engine_build import EngineBuild
from lanner.artifact.manifest import HALF_PRECISIONS, Variant
from lanner.engines.native.availability import why_no_bf16, why_not, why_slow
from lanner.engines.protocol import Engine
from lanner.errors import EngineError, LannerError, VariantError
from lanner.machine.gpu import missing_gpu, require_gpu
from lanner.machine.machine import TENSORRT_PACKAGES, has_module, package_version, this_machine

#: The values of `lanner.load(device=...)`, besides "auto".
DEVICES = ("cpu", "cuda")


@dataclass(frozen=True, kw_only=True)
class Opening:
    """The model file that an engine opens, and the settings to run it with.

    Attributes:
        path: The variant's model file.
        precision: The precision of the variant.
        threads: Cores to use.
        workers: The usual number of batches at once; each has ``threads // workers`` cores.
        max_tokens: The longest input that the model takes, or None if unknown. An engine may pad
            inputs up to it with masked tokens.
        build: The machine and shapes that a TensorRT engine was built for.
        device: One of `DEVICES`.
        inputs: The names of the graph's inputs, for an engine that is built when it is opened.
        engine_cache: The directory in which ONNX Runtime keeps the engines that it builds with
            TensorRT; None for its own kernels.
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


def _no_reason(_: Path) -> str:
    return ""


def _never(_: Variant) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class EngineRecord:
    """The description of an engine, available before the engine is imported.

    Attributes:
        name: The name in the manifest, in `lanner.load` and on the command line.
        title: The name in sentences.
        extra: The extra that installs the engine.
        modules: The modules of the extra, the engine's own first.
        packages: The distributions with the engine, of which one is enough.
        devices: The `DEVICES` that the engine runs on, the default first.
        model_format: ``"onnx"`` for every graph of an artifact, or a format that no other engine
            shares.
        best_precisions: Precisions for which ``"auto"`` prefers this engine to those before it.
        only_precision: The one precision whose variants it runs; empty for all.
        scales: Where the scale of an int8 activation is from: ``"static"``, the artifact's, or
            ``"token"``, measured for each token.
        refuse: Returns the reason why the machine cannot run the engine, whatever is installed, or
            an empty string.
        is_automatic: True if ``"auto"`` and `lanner tune` may take the engine; others are taken by
            name.
        slow_here: Returns the reason why the installed engine is slow on this machine, or an empty
            string; ``"auto"`` then prefers all others.
        refuse_graph: Returns the reason why the engine does not run a model file of its format, or
            an empty string; it reads the graph, not the weights.
        batch_dependence: Returns the reason why the answers to a variant depend on the batch on
            this processor, or an empty string.
        open: Imports the engine and opens a model file.
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
    only_precision: str = ""
    scales: str = "static"
    is_automatic: bool = True
    refuse: Callable[[], str] = str
    slow_here: Callable[[], str] = str
    refuse_graph: Callable[[Path], str] = _no_reason
    batch_dependence: Callable[[Variant], str] = _never

    @property
    def is_installed(self) -> bool:
        """True if the engine's own module can be imported."""
        return has_module(self.modules[0])

    @property
    def version(self) -> str | None:
        """Return the installed version, or None."""
        return next(filter(None, map(package_version, self.packages)), None)

    @property
    def runs_graphs(self) -> bool:
        """True if the engine runs the graphs of an artifact, not only files made for it."""
        return self.model_format == "onnx"

    def runs(self, variant: Variant, device: str) -> bool:
        """True if the engine runs a variant's kind of file on that device."""
        made_for = find_engine(variant.engine)
        formats = made_for is not None and made_for.model_format == self.model_format
        precision = self.only_precision in ("", variant.precision)
        return formats and precision and device in self.devices

    def why_not(self, variant: Variant, device: str, directory: Path) -> str:
        """Return the reason why the engine runs a variant on no machine, or an empty string.

        Args:
            variant: The variant.
            device: One of `DEVICES`.
            directory: The artifact of the variant.
        """
        if not self.runs(variant, device):
            return f"the engine {self.name} does not run the variant {variant.name} on {device}"
        reason = self.refuse_graph(directory / variant.file)
        return reason and f"the engine {self.name} does not run {variant.name}: {reason}"

    def reason_against(self, variant: Variant, file: Path | None) -> str:
        """Return the reason why ``"auto"`` cannot take the engine, or an empty string.

        Args:
            variant: A variant of a kind that the engine runs.
            file: Its model file; None to leave the graph out of account.
        """
        if not self.is_installed:
            return f"{self.packages[0]} is not installed"
        dependence = self.batch_dependence(variant)
        return dependence or ("" if file is None else self.refuse_graph(file))

    def refusal(self) -> str:
        """Return the reason why the engine does not run on this machine, or an empty string."""
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
    """Return the reason why OpenVINO's answers depend on the batch on this processor.

    Without VNNI OpenVINO computes int8 products in float32. The order of its sums depends on the
    shape, and a difference in the last bit can round an activation to another byte. With AVX2
    alone, texts of all-MiniLM-L6-v2 keep a cosine of 0.9956 with themselves in another batch
    (0.9999 is required); ONNX Runtime sums integers and keeps 1.0000.
    """
    has_ranges = variant.precision == "int8" and bool(variant.calibration)
    if not has_ranges or this_machine().has_fast_int8:
        return ""
    return (
        "its answers depend on the batch on a processor without VNNI (a cosine of 0.9956 was "
        "measured)"
    )


def _open_tensorrt(opening: Opening) -> Engine:
    if opening.build is None:
        msg = (
            f"{opening.path} has no build record: build the engine again with 'lanner build-engine'"
        )
        raise EngineError(msg)
    # Before any import: without a GPU no package would help.
    require_gpu("the tensorrt engine")
    from lanner.engines.tensorrt.engine import TensorRtEngine  # noqa: PLC0415 (an extra)

    return TensorRtEngine(opening.path, opening.build)


def _refuse_tensorrt() -> str:
    if reason := missing_gpu():
        return f"it needs an NVIDIA GPU, but {reason}"
    from lanner.engines.tensorrt.library import tensorrt_version  # noqa: PLC0415 (needs a GPU)

    try:
        tensorrt_version()
    except LannerError as error:
        return str(error)
    return ""


def _open_native(opening: Opening, *, is_per_token: bool = True, is_bf16: bool = False) -> Engine:
    from lanner.engines.native.engine import NativeEngine  # noqa: PLC0415 (an extra)

    if opening.precision in HALF_PRECISIONS:
        msg = (
            f"the native engine does not read graphs in {opening.precision}: for products in bf16 "
            "use variant='fp32' and engine='native-bf16'"
        )
        raise EngineError(msg)
    if is_bf16 and (reason := why_no_bf16()):
        msg = f"the engine native-bf16 does not run here, since {reason}: use engine='native'"
        raise EngineError(msg)
    return NativeEngine(
        opening.path,
        threads=opening.threads,
        workers=opening.workers,
        is_per_token=is_per_token,
        is_bf16=is_bf16,
    )


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
    # ONNX Runtime has no bf16 kernels for CPUs.
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
NATIVE = EngineRecord(
    name="native",
    title="Lanner's own kernels",
    extra="native",
    modules=("lanner_native",),
    packages=("lanner-native",),
    devices=("cpu",),
    best_precisions=frozenset({"int8"}),
    scales="token",
    slow_here=why_slow,
    refuse_graph=why_not,
    open=_open_native,
)
NATIVE_STATIC = replace(
    NATIVE,
    name="native-static",
    title="Lanner's own kernels with the artifact's scales",
    scales="static",
    is_automatic=False,
    open=partial(_open_native, is_per_token=False),
)
NATIVE_BF16 = replace(
    NATIVE,
    name="native-bf16",
    title="Lanner's own kernels with products in bf16",
    best_precisions=frozenset(),
    only_precision="fp32",
    is_automatic=False,
    refuse=why_no_bf16,
    open=partial(_open_native, is_bf16=True),
)
#: All engines. Among those that run the same files, the one that is usually fastest comes first. On
#: a CPU with VNNI OpenVINO runs int8 in 0.9 of ONNX Runtime's time for shapes that repeat, but it
#: takes 5 ms more for each new shape, the time of six texts, and more memory; fp32 is as fast in
#: both.
ENGINES = (ONNXRUNTIME, OPENVINO, NATIVE, NATIVE_STATIC, NATIVE_BF16, TENSORRT)


def engine_names() -> list[str]:
    """Return the values of `lanner.load(engine=...)`, besides "auto"."""
    return [engine.name for engine in ENGINES]


def find_engine(name: str) -> EngineRecord | None:
    """Return the record of an engine, or None if there is no engine of that name."""
    return next((engine for engine in ENGINES if engine.name == name), None)


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
        name: One of `engine_names`.
        path: The variant's model file.
        precision: See `Opening`, like the other arguments.
        threads: See `Opening`.
        workers: See `Opening`.
        max_tokens: See `Opening`.
        build: See `Opening`.
        device: One of the engine's devices, or None for the first of them.
        inputs: See `Opening`.
        engine_cache: See `Opening`.

    Raises:
        VariantError: There is no such engine, or it does not run on that device.
        MissingExtraError: The engine's package is not installed.
        EngineError: The engine could not load the file, this CPU lacks the precision, or this
            machine has no GPU.
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
