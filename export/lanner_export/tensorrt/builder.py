"""TensorRT's builder, for 10.13 and later and for 11.x.

Networks are strongly typed and no precision is a flag: 11 has no other networks and no such flags
(https://docs.nvidia.com/deeplearning/tensorrt/latest/api/migration/tensorrt-10x-to-11x.html).
"""

from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from lanner.engines.tensorrt.library import open_log, tensorrt
from lanner.errors import EngineError, OutputError
from lanner.files.staging import staged_file
from lanner.machine import interruption
from lanner_export.tensorrt.build_plan import BuildPlan

#: Names of `lanner.artifact.engine_build.HARDWARE_COMPATIBILITIES` -> names of
#: `tensorrt.HardwareCompatibilityLevel`.
HARDWARE_LEVELS = {
    "none": "NONE",
    "ampere_plus": "AMPERE_PLUS",
    "same_compute_capability": "SAME_COMPUTE_CAPABILITY",
}
_MIB = 2**20
#: Messages of TensorRT and CUDA that mean "out of memory", without underscores.
_NO_MEMORY = (
    "out of memory",
    "outofmemory",
    "cudaerrormemoryallocation",
    "could not be allocated",
    "insufficient memory",
)
#: The most refused nodes that a message names.
_MOST_NAMED = 3

#: A progress callback: the current phase, its finished steps, and the number of its steps.
Steps = Callable[[str, int, int], object]


def build_engine(graph: Path, target: Path, plan: BuildPlan, told: Steps) -> None:
    """Build the engine of a graph.

    Args:
        graph: The ONNX file.
        target: The path of the engine.
        plan: The plan.
        told: Called on progress; a signal that came meanwhile stops the builder.

    Raises:
        MissingExtraError: TensorRT is not installed.
        EngineError: The libraries or the GPU are missing, the parser refused a node, the GPU has
            too little memory, or the builder failed; the message says which.
        OutputError: The timing cache cannot be used.
    """
    trt, log = tensorrt(), open_log()
    builder = _made(lambda: trt.Builder(log), log, "a builder")
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    _parse(trt, network, log, graph)
    config = _configured(trt, builder, network, plan)
    monitor = _monitor(trt, told)
    config.progress_monitor = monitor
    cache = _attach_cache(config, plan.settings.timing_cache)
    serialized = builder.build_serialized_network(network, config)
    interruption.check()
    if serialized is None:
        raise EngineError(_failed(plan, log.last_error, log.recent))
    target.write_bytes(memoryview(serialized))
    if cache is not None and plan.settings.timing_cache is not None:
        with staged_file(plan.settings.timing_cache) as file:
            file.write(memoryview(cache.serialize()))


def _made(make: Callable[[], Any], log: Any, what: str) -> Any:
    # pybind11 only reports that a factory returned nothing; TensorRT's log has the reason.
    try:
        return make()
    except (TypeError, RuntimeError) as error:
        reason = log.last_error or str(error)
        msg = (
            f"TensorRT could not make {what} ({_line(reason)}): building an engine "
            "needs an NVIDIA GPU with a driver for this TensorRT"
        )
        raise EngineError(msg) from error


def _parse(trt: Any, network: Any, log: Any, graph: Path) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(graph)):
        return
    count = parser.num_errors
    errors = [parser.get_error(index) for index in range(min(count, _MOST_NAMED))]
    shown = "; ".join(
        f"{error.node_operator()} {error.node_name()}: {_line(error.desc())}" for error in errors
    )
    more = f", and {count - _MOST_NAMED:,} more" if count > _MOST_NAMED else ""
    msg = f"the ONNX parser of TensorRT {trt.__version__} refused the graph at {shown}{more}"
    raise EngineError(msg if errors else f"{msg}its file: {_line(log.last_error)}")


def _configured(trt: Any, builder: Any, network: Any, plan: BuildPlan) -> Any:
    config, settings = builder.create_builder_config(), plan.settings
    if plan.precision != "tf32":
        config.clear_flag(trt.BuilderFlag.TF32)  # it is on by default
    if settings.is_version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.hardware_compatibility_level = getattr(
        trt.HardwareCompatibilityLevel, HARDWARE_LEVELS[settings.hardware_compatibility]
    )
    if settings.optimization_level is not None:
        config.builder_optimization_level = settings.optimization_level
    if settings.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, settings.workspace_mib * _MIB)
    names = [network.get_input(index).name for index in range(network.num_inputs)]
    for item in plan.profiles:
        profile = builder.create_optimization_profile()
        for name in names:
            profile.set_shape(name, item.smallest, item.typical, item.largest)
        if config.add_optimization_profile(profile) < 0:
            msg = f"TensorRT {trt.__version__} refused the profile {item}: choose other --buckets"
            raise EngineError(msg)
    return config


def _attach_cache(config: Any, path: Path | None) -> Any:
    if path is None:
        return None
    known = path.read_bytes() if path.exists() else b""
    cache = config.create_timing_cache(known)
    # A cache of another GPU or version is useless here.
    if cache is None or not config.set_timing_cache(cache, ignore_mismatch=False):
        msg = (
            f"the timing cache {path} is for another GPU or TensorRT version, or damaged: name "
            "another file with --timing-cache"
        )
        raise OutputError(msg)
    return cache


def _monitor(trt: Any, told: Steps) -> Any:
    """Make a progress monitor; its base class is TensorRT's, so it is defined on demand."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        """The progress monitor of `_monitor`."""

        def __init__(self) -> None:
            super().__init__()
            self._phases: dict[str, int] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            """Record the start of a phase; TensorRT calls this, and the others, from any thread."""
            self._phases[phase_name] = num_steps
            # TensorRT prints and drops exceptions from here; the next step checks again.
            with suppress(KeyboardInterrupt, SystemExit):
                told(phase_name, 0, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            """Record a finished step; return False to stop the builder."""
            with suppress(KeyboardInterrupt, SystemExit):
                told(phase_name, step + 1, self._phases.get(phase_name, step + 1))
                interruption.check()
                return True
            return False

        def phase_finish(self, phase_name: str) -> None:
            """Record the end of a phase, or of the build."""
            self._phases.pop(phase_name, None)

    return Monitor()


def _failed(plan: BuildPlan, reason: str, recent: Iterable[str]) -> str:
    what = f"TensorRT could not build the {plan.precision} engine"
    # A kernel without memory is skipped; the last message only reports that no kernel is left.
    shortage = next((said for said in (reason, *recent) if _is_shortage(said)), "")
    if shortage:
        which = "a" if plan.settings.workspace_mib is None else "another"
        return (
            f"{what}, because the GPU has too little memory ({_line(shortage)}): end other "
            f"programs on it, or use a smaller --max-batch-size, fewer --buckets or {which} "
            "--workspace-mib"
        )
    return f"{what}: {_line(reason) or 'it gave no reason'}"


def _is_shortage(said: str) -> bool:
    return any(sign in said.lower().replace("_", "") for sign in _NO_MEMORY)


def _line(text: str) -> str:
    return " ".join(text.split())
