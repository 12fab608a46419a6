"""A TensorRT engine, deserialized from a plan file.

The names are those that TensorRT 10.13 and 11 have in common
(https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/).
"""

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.engines.tensorrt.cuda import DeviceMemory, Stream
from lanner.engines.tensorrt.library import open_log, tensorrt
from lanner.errors import EngineError

#: The types that token ids may have, by the names of `tensorrt.DataType`.
_INPUT_TYPES: Mapping[str, DTypeLike] = {"INT64": np.int64, "INT32": np.int32}
_OUTPUT_TYPE = "FLOAT"


class DeserializedEngine:
    """An engine and its tensors. Any thread may call it.

    Args:
        path: The plan file.
        build: The record of the build.

    Attributes:
        inputs: The input tensors, [batch, length] each, and their types.
        output: The first output tensor, float32 [batch, ...].
        profiles: The shapes that the engine takes.

    Raises:
        EngineError: TensorRT refused the plan, or its tensors are not those of a text model.
    """

    def __init__(self, path: Path, build: EngineBuild) -> None:
        self._trt = tensorrt()
        self._log = open_log()
        # TensorRT's objects own each other: an engine keeps its runtime, a context its engine.
        runtime = self._trt.Runtime(self._log)
        # A version-compatible engine brings the code that runs it, so it must be trusted like code.
        # The manifest has its checksum.
        runtime.engine_host_code_allowed = build.is_version_compatible
        engine = runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            msg = f"TensorRT {self._trt.__version__} could not load {path}{self.reason}"
            raise EngineError(msg)
        self._engine = engine
        # TensorRT's objects are not thread-safe; a context may be used by one thread at a time.
        self._lock = threading.Lock()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        is_input = self._trt.TensorIOMode.INPUT
        given = [name for name in names if engine.get_tensor_mode(name) == is_input]
        types = {name: engine.get_tensor_dtype(name).name for name in names}
        answered = [name for name in names if name not in given]
        if not answered or not {types[name] for name in given} <= set(_INPUT_TYPES):
            shown = ", ".join(f"{name} {kind}" for name, kind in types.items())
            msg = (
                f"{path} is not an engine of a text model (its tensors are {shown}): build it again"
            )
            raise EngineError(msg)
        self.output = answered[0]
        if types[self.output] != _OUTPUT_TYPE:
            msg = (
                f"{path} returns {types[self.output]} as {self.output}, but float32 is expected: "
                "build it again with 'lanner build-engine'"
            )
            raise EngineError(msg)
        self.inputs = {name: np.dtype(_INPUT_TYPES[types[name]]) for name in given}
        self.profiles = [self._profile(index) for index in range(engine.num_optimization_profiles)]

    @property
    def reason(self) -> str:
        """Return TensorRT's last message once, to append to an error."""
        said = " ".join(str(self._log.last_error).split())
        self._log.forget()
        return f": {said}" if said else ""

    def _profile(self, index: int) -> Profile:
        # All inputs have one shape.
        shapes = self._engine.get_tensor_profile_shape(next(iter(self.inputs)), index)
        return Profile(*(tuple(shape) for shape in shapes))

    def workspace_bytes(self, profile: int) -> int:
        """Return the bytes that a context of a profile needs for intermediate results."""
        return int(self._engine.get_device_memory_size_for_profile_v2(profile))

    def context(self, profile: int, *, workspace: DeviceMemory, stream: Stream) -> "Context":
        """Make a context of a profile.

        Args:
            profile: The number of the profile.
            workspace: Memory for intermediate results; contexts that never run at the same time may
                share it.
            stream: The stream that switches the profile.

        Raises:
            EngineError: TensorRT could not make it.
        """
        strategy = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
        with self._lock:
            raw = self._engine.create_execution_context(strategy)
            if raw is None or not raw.set_optimization_profile_async(profile, stream.handle):
                msg = f"TensorRT could not make a context of profile {profile}{self.reason}"
                raise EngineError(msg)
            stream.synchronize()  # the profile is switched on the stream
        # As in NVIDIA's trtexec: first the profile, then as much memory as that profile needs.
        raw.set_device_memory(workspace.address, workspace.bytes)
        return Context(self, raw)


class Context:
    """An execution context of one profile. One thread at a time may call it."""

    def __init__(self, owner: DeserializedEngine, raw: Any) -> None:
        self._owner, self._raw = owner, raw
        self._shape: tuple[int, int] | None = None
        self._answered: tuple[int, ...] = ()

    def bind(self, addresses: Mapping[str, int]) -> None:
        """Set the addresses of inputs and output on the GPU.

        Raises:
            EngineError: TensorRT refuses an address.
        """
        for name, address in addresses.items():
            if not self._raw.set_tensor_address(name, address):
                msg = f"TensorRT does not take the memory of {name}{self._owner.reason}"
                raise EngineError(msg)

    def reshape(self, shape: tuple[int, int]) -> tuple[int, ...]:
        """Set the shape of the inputs.

        Returns:
            The shape of the output.

        Raises:
            EngineError: The shape is not within the profile.
        """
        if shape != self._shape:
            self._shape = None  # some inputs may have taken it before another refused
            for name in self._owner.inputs:
                if not self._raw.set_input_shape(name, shape):
                    msg = f"TensorRT does not take {name} of shape {shape}{self._owner.reason}"
                    raise EngineError(msg)
            self._shape = shape
            self._answered = tuple(self._raw.get_tensor_shape(self._owner.output))
        return self._answered

    def enqueue(self, stream: Stream) -> None:
        """Put a run on a stream.

        Raises:
            EngineError: TensorRT refused the run.
        """
        if not self._raw.execute_async_v3(stream.handle):
            msg = f"TensorRT could not run the batch{self._owner.reason}"
            raise EngineError(msg)
