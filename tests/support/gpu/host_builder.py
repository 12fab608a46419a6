"""A stand-in for TensorRT's builder without a GPU: it takes a graph and returns it.

Its engines are the graphs themselves, which ONNX Runtime can run.
`tests/export/tensorrt/test_names.py` compares its names and arguments with those of the real
bindings.
"""

import enum
from pathlib import Path
from typing import Any

VERSION = "10.13.3.9"


class BuilderFlag(enum.Enum):
    TF32, VERSION_COMPATIBLE = range(2)


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class HardwareCompatibilityLevel(enum.Enum):
    NONE, AMPERE_PLUS, SAME_COMPUTE_CAPABILITY = range(3)


class MemoryPoolType(enum.Enum):
    WORKSPACE = 0


class Log:
    """The log that `lanner.engines.tensorrt.library.open_log` returns."""

    def __init__(self) -> None:
        self.last_error = ""
        self.recent: list[str] = []


class ParserError:
    def __init__(self, name: str, operator: str, reason: str) -> None:
        self._name, self._operator, self._reason = name, operator, reason

    def node_name(self) -> str:
        return self._name

    def node_operator(self) -> str:
        return self._operator

    def desc(self) -> str:
        return self._reason


class ITensor:
    def __init__(self, name: str) -> None:
        self.name = name


class INetworkDefinition:
    def __init__(self, flags: int) -> None:
        self.creation_flags = flags
        self.graph = b""
        self.names: list[str] = []

    @property
    def num_inputs(self) -> int:
        return len(self.names)

    def get_input(self, index: int) -> ITensor:
        return ITensor(self.names[index])


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(
        self,
        input: str,  # noqa: A002 (as TensorRT names it)
        min: tuple[int, int],  # noqa: A002
        opt: tuple[int, int],
        max: tuple[int, int],  # noqa: A002
    ) -> None:
        self.shapes[input] = (min, opt, max)


class ITimingCache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+timed"


class IBuilderConfig:
    def __init__(self) -> None:
        self.flags = {BuilderFlag.TF32}
        self.profiles: list[IOptimizationProfile] = []
        self.pools: dict[MemoryPoolType, int] = {}
        self.hardware_compatibility_level = HardwareCompatibilityLevel.NONE
        self.builder_optimization_level = 3
        self.progress_monitor: Any = None
        self.cache: ITimingCache | None = None

    def set_flag(self, flag: BuilderFlag) -> None:
        self.flags.add(flag)

    def clear_flag(self, flag: BuilderFlag) -> None:
        self.flags.discard(flag)

    def set_memory_pool_limit(self, pool: MemoryPoolType, pool_size: int) -> None:
        self.pools[pool] = pool_size

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache:
        return ITimingCache(serialized_timing_cache)

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.content.startswith(b"other") and not ignore_mismatch:
            return False
        self.cache = cache
        return True


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class HostBuilder:
    """A stand-in for the module ``tensorrt``.

    Attributes:
        log: The log for errors.
        failure: The builder's error if it must fail; empty to build an engine.
        refused: The parser, name, operator and reason of each node to refuse.
        configs: The settings of each build.
        networks: The network of each build.
    """

    __version__ = VERSION
    BuilderFlag = BuilderFlag
    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag
    HardwareCompatibilityLevel = HardwareCompatibilityLevel
    MemoryPoolType = MemoryPoolType
    IProgressMonitor = IProgressMonitor

    def __init__(self) -> None:
        self.log = Log()
        self.failure = ""
        self.refused: list[tuple[str, str, str]] = []
        self.configs: list[IBuilderConfig] = []
        self.networks: list[INetworkDefinition] = []

    def Builder(self, logger: Log) -> "Builder":  # noqa: N802 (as TensorRT names it)
        return Builder(self)

    def OnnxParser(self, network: INetworkDefinition, logger: Log) -> "OnnxParser":  # noqa: N802
        return OnnxParser(self, network)


class OnnxParser:
    def __init__(self, trt: HostBuilder, network: INetworkDefinition) -> None:
        self._trt, self._network = trt, network

    @property
    def num_errors(self) -> int:
        return len(self._trt.refused)

    def get_error(self, index: int) -> ParserError:
        return ParserError(*self._trt.refused[index])

    def parse_from_file(self, model: str) -> bool:
        import onnx  # noqa: PLC0415 (an extra)

        self._network.graph = Path(model).read_bytes()
        graph = onnx.load_model_from_string(self._network.graph).graph
        self._network.names = [value.name for value in graph.input]
        return not self._trt.refused


class Builder:
    def __init__(self, trt: HostBuilder) -> None:
        self._trt = trt

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        return INetworkDefinition(flags)

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(
        self, network: INetworkDefinition, config: IBuilderConfig
    ) -> bytes | None:
        self._trt.networks.append(network)
        self._trt.configs.append(config)
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        goes_on = all(monitor.step_complete("Building", step) for step in range(2))
        monitor.phase_finish("Building")
        if self._trt.failure or not goes_on:
            self._trt.log.last_error = self._trt.failure or "stopped"
            return None
        return network.graph
