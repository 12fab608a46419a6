"""TensorRT in host memory, over `tests.support.gpu.host_cuda`: a small model and TensorRT's rules.

For each text the model returns the sum, the number, the first and the last of its visible tokens.
So neither padding nor another text changes the answer. The behavior that TensorRT calls undefined
is an error here: a graph whose context has changed, a capture before a first run, two threads at
one engine, an unread error of CUDA. `tests/export/tensorrt/test_names.py`
compares its names with the real ones.
"""

import enum
import json
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.support.gpu.host_cuda import SUCCESS, HostCuda, HostStream

from lanner.artifact.engine_build import EngineBuild, Profile

VERSION = "10.13.3.9"
BUILD = EngineBuild("NVIDIA H100 80GB HBM3", "9.0", VERSION, [Profile((1, 8), (4, 8), (8, 8))])


class DataType(enum.Enum):
    FLOAT = np.dtype(np.float32)
    HALF = np.dtype(np.float16)
    INT32 = np.dtype(np.int32)
    INT64 = np.dtype(np.int64)


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class ExecutionContextAllocationStrategy(enum.Enum):
    STATIC, ON_PROFILE_CHANGE, USER_MANAGED = range(3)


class Log:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)

    def log(self, severity: int, message: str) -> None:
        raise NotImplementedError


def write_plan(path: Path, profiles: Sequence[Profile], **changes: Any) -> EngineBuild:
    """Write a file that `HostTensorRt` loads, and return the record of its build.

    Args:
        path: The file.
        profiles: The shapes that it accepts.
        changes: ``types`` of the tensors by name; ``answers``, a row for each ``"text"`` or
            ``"token"``; ``captures``, True if it can be captured, or ``"fails"`` if CUDA does not
            notice; ``unaddressed``, tensors whose address is refused; ``workspace_bytes`` for each
            token.
    """
    types = {"input_ids": "INT64", "attention_mask": "INT64", "sentence_embedding": "FLOAT"}
    content = {
        "profiles": [asdict(profile) for profile in profiles],
        "types": types,
        "answers": "text",
        "captures": True,
        "unaddressed": [],
        "workspace_bytes": 16,
        **changes,
    }
    path.write_text(json.dumps(content))
    return replace(BUILD, profiles=list(profiles))


def expected(inputs: dict[str, NDArray[np.int64]], answers: str = "text") -> NDArray[np.float32]:
    """Return the expected answers of the model, computed from the text alone.

    Args:
        inputs: int64 [batch, length].
        answers: A row for each ``"text"``, [batch, 4], or for each ``"token"``, [batch, length, 2].
    """
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    seen = mask > 0
    if answers == "token":
        totals = np.broadcast_to((ids * seen).sum(1, keepdims=True), ids.shape)
        return np.stack([ids * seen, totals], axis=2).astype(np.float32)
    last = np.maximum(0, ids.shape[1] - 1 - np.argmax(seen[:, ::-1], axis=1))
    rows = np.arange(len(ids))
    columns = [(ids * seen).sum(1), seen.sum(1), ids[:, 0], ids[rows, last]]
    return np.stack(columns, axis=1).astype(np.float32)


class HostTensorRt:
    """A stand-in for the module ``tensorrt``.

    Attributes:
        contexts: The number of contexts made.
        runs: The shape of every run in order, graphs included.
        refuses_last: True if the last input refuses every shape.
    """

    __version__ = VERSION
    DataType = DataType
    TensorIOMode = TensorIOMode
    ExecutionContextAllocationStrategy = ExecutionContextAllocationStrategy
    ILogger = Log

    def __init__(self, cuda: HostCuda) -> None:
        self.cuda = cuda
        self.contexts = 0
        self.refuses_last = False
        self.runs: list[tuple[int, ...]] = []

    def Runtime(self, log: Log) -> "Runtime":  # noqa: N802 (as TensorRT names it)
        return Runtime(self, log)


class Runtime:
    def __init__(self, trt: HostTensorRt, log: Log) -> None:
        self._trt, self._log = trt, log
        self.engine_host_code_allowed = False

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> "ICudaEngine | None":
        try:
            content = json.loads(serialized_engine)
        except ValueError:
            self._log.log(Log.ERROR, "deserializeCudaEngine: Error Code 1:\n bad magic")
            return None
        return ICudaEngine(self._trt, self._log, content)


class ICudaEngine:
    def __init__(self, trt: HostTensorRt, log: Log, content: dict[str, Any]) -> None:
        self._trt, self._log, self._content = trt, log, content
        self._is_free = threading.Lock()
        self._names = list(content["types"])
        self.num_io_tensors = len(self._names)
        self.num_optimization_profiles = len(content["profiles"])

    def get_tensor_name(self, index: int) -> str:
        return str(self._names[index])

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.OUTPUT if name == self._names[-1] else TensorIOMode.INPUT

    def get_tensor_dtype(self, name: str) -> DataType:
        return DataType[self._content["types"][name]]

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        assert self.get_tensor_mode(name) == TensorIOMode.INPUT
        profile = self._content["profiles"][profile_index]
        return [tuple(profile[key]) for key in ("smallest", "typical", "largest")]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        batch, length = self._content["profiles"][profile_index]["largest"]
        return int(batch * length * self._content["workspace_bytes"])

    def create_execution_context(
        self, strategy: ExecutionContextAllocationStrategy
    ) -> "IExecutionContext":
        assert strategy == ExecutionContextAllocationStrategy.USER_MANAGED
        self._trt.cuda.require_first_gpu()
        assert self._is_free.acquire(blocking=False), "two threads are at one engine"
        time.sleep(0.001)  # as in the real one, other threads run meanwhile
        self._trt.contexts += 1
        self._is_free.release()
        return IExecutionContext(self, self._trt, self._log, self._content)


class IExecutionContext:
    def __init__(
        self, engine: ICudaEngine, trt: HostTensorRt, log: Log, content: dict[str, Any]
    ) -> None:
        self._engine, self._trt, self._log, self._content = engine, trt, log, content
        self._profile = -1
        self._addresses: dict[str, int] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._workspace = SimpleNamespace(address=0, bytes=0)
        self._has_run_since = False

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        def switch() -> None:
            self._profile = profile_index

        self._stream(stream_handle).put(switch)
        return True

    def set_device_memory(self, memory: int, size: int) -> None:
        self._workspace = SimpleNamespace(address=memory, bytes=size)

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert name in self._content["types"]
        if name in self._content["unaddressed"]:
            self._log.log(Log.ERROR, f"Error Code 3: {name} has another address")
            return False
        self._addresses[name] = memory
        return True

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        least, _, most = self._engine.get_tensor_profile_shape(name, self._profile)
        is_last = name == list(self._content["types"])[-2]
        if self._trt.refuses_last and is_last:
            self._log.log(Log.ERROR, f"Error Code 3: {name} is refused")
            return False
        if not all(low <= n <= high for low, n, high in zip(least, shape, most, strict=True)):
            self._log.log(Log.ERROR, f"Error Code 3: {name} is out of its profile")
            return False
        self._shapes[name] = shape
        self._has_run_since = False
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch, length = next(iter(self._shapes.values()))
        return (batch, 4) if self._content["answers"] == "text" else (batch, length, 2)

    def execute_async_v3(self, stream_handle: int) -> bool:
        stream = self._stream(stream_handle)
        needed = self._engine.get_device_memory_size_for_profile_v2(self._profile)
        assert self._workspace.bytes >= needed
        assert self._workspace.address in self._trt.cuda.allocations
        assert self._trt.cuda.last_error == SUCCESS, "TensorRT takes it for its own"
        self._trt.cuda.require_first_gpu()
        captures = self._content["captures"]
        if stream.captured is not None and not (captures is True and self._has_run_since):
            stream.is_spoilt = captures != "fails"
            self._log.log(Log.ERROR, "Error Code 1: operation not permitted in a capture")
            return False
        shapes, addresses = dict(self._shapes), dict(self._addresses)
        assert len(addresses) == len(self._content["types"])

        def run() -> None:
            assert self._shapes == shapes, "the context of a graph was changed"
            inputs = {
                name: self._read(name, addresses[name], shape) for name, shape in shapes.items()
            }
            answer = expected(inputs, self._content["answers"])
            self._trt.runs.append(next(iter(shapes.values())))
            output = self._engine.get_tensor_name(self._engine.num_io_tensors - 1)
            target = np.frombuffer(
                memoryview(self._trt.cuda.allocations[addresses[output]]), np.float32
            )
            target[: answer.size] = answer.reshape(-1)

        stream.put(run)
        self._has_run_since = True
        return True

    def _stream(self, handle: int) -> HostStream:
        return self._trt.cuda.streams[handle]

    def _read(self, name: str, address: int, shape: tuple[int, ...]) -> NDArray[np.int64]:
        block = memoryview(self._trt.cuda.allocations[address])
        kind = self._engine.get_tensor_dtype(name).value
        return np.frombuffer(block, kind)[: int(np.prod(shape))].reshape(shape).astype(np.int64)
