"""CUDA in host memory: the calls of `lanner.engines.tensorrt.cuda`, as CUDA documents them.

A task on a stream runs only when the stream is waited for, and a captured task does not run at all.
So a missing wait, copy or launch leaves wrong numbers behind. There are two GPUs; each thread has
its own current one, and everything must be made on the first. Errors, flags and kinds are those of
the real bindings.
"""

# ruff: noqa: N802, N815 (the names are those of CUDA)
import ctypes
import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

real = pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")
SUCCESS = real.cudaError_t.cudaSuccess
OUT_OF_MEMORY = real.cudaError_t.cudaErrorMemoryAllocation
NOT_CAPTURED = real.cudaError_t.cudaErrorStreamCaptureInvalidated

Task = Callable[[], None]


class HostStream:
    """A queue of tasks.

    Attributes:
        waiting: The tasks that have not run.
        captured: The tasks of the current capture; None without a capture.
        is_spoilt: True if the capture met a call that cannot be captured.
    """

    def __init__(self) -> None:
        self.waiting: list[Task] = []
        self.captured: list[Task] | None = None
        self.is_spoilt = False

    def __int__(self) -> int:
        return id(self)

    def put(self, task: Task) -> None:
        (self.waiting if self.captured is None else self.captured).append(task)


class HostCuda:
    """A stand-in for the module ``cuda.bindings.runtime``.

    Attributes:
        memory_bytes: The memory of the GPU.
        launches: The number of graph launches.
        graphs: The number of graphs that can be launched.
        captured: The number of captured graphs that are not destroyed.
        last_error: The last error, until it is asked for.
        lost: The error that every call returns from now on, or None.
        allocations: The memory that is allocated and not freed, by address.
        most_allocations: The highest number of allocations at once.
        streams: The streams that are not destroyed, by handle.
    """

    def __init__(self, memory_bytes: int = 2**30) -> None:
        self.memory_bytes = memory_bytes
        self.launches = self.graphs = self.captured = self.most_allocations = 0
        self.last_error = SUCCESS
        self.lost: Any = None
        self._current = threading.local()
        self.allocations: dict[int, Any] = {}
        self.streams: dict[int, HostStream] = {}
        self._lock = threading.Lock()
        for name in ("cudaError_t", "cudaMemcpyKind", "cudaStreamCaptureMode"):
            setattr(self, name, getattr(real, name))
        self.cudaStreamNonBlocking = real.cudaStreamNonBlocking
        self.cudaHostAllocDefault = real.cudaHostAllocDefault
        self.cudaGetErrorString = real.cudaGetErrorString

    def failed(self, error: Any) -> Any:
        """Return an error, and keep it as the last one."""
        self.last_error = error
        return error

    def cudaGetDevice(self) -> tuple[Any, int]:
        return SUCCESS, getattr(self._current, "device", 0)

    def cudaSetDevice(self, device: int) -> tuple[Any]:
        self._current.device = device
        return (SUCCESS,)

    def require_first_gpu(self) -> None:
        assert self.cudaGetDevice()[1] == 0, "it is not on the first GPU"

    @property
    def used_bytes(self) -> int:
        return sum(map(ctypes.sizeof, self.allocations.values()))

    def cudaMalloc(self, size: int) -> tuple[Any, Any]:
        self.require_first_gpu()
        with self._lock:
            if self.used_bytes + size > self.memory_bytes:
                return self.failed(OUT_OF_MEMORY), None
            return SUCCESS, self._allocate(size)

    def cudaHostAlloc(self, size: int, flags: int) -> tuple[Any, Any]:
        assert flags == real.cudaHostAllocDefault
        return SUCCESS, self._allocate(size)

    def _allocate(self, size: int) -> int:
        # not zeros, as on a GPU
        block = (ctypes.c_byte * size)(*(b"\x7f" * size))
        self.allocations[ctypes.addressof(block)] = block
        self.most_allocations = max(self.most_allocations, len(self.allocations))
        return ctypes.addressof(block)

    def cudaFree(self, address: int) -> tuple[Any]:
        del self.allocations[address]
        return (SUCCESS,)

    cudaFreeHost = cudaFree

    def cudaMemGetInfo(self) -> tuple[Any, int, int]:
        return SUCCESS, self.memory_bytes - self.used_bytes, self.memory_bytes

    def cudaGetLastError(self) -> tuple[Any]:
        last, self.last_error = self.last_error, SUCCESS
        return (last,)

    def cudaStreamCreateWithFlags(self, flags: int) -> tuple[Any, HostStream]:
        self.require_first_gpu()
        assert flags == real.cudaStreamNonBlocking
        stream = HostStream()
        self.streams[int(stream)] = stream
        return SUCCESS, stream

    def cudaStreamDestroy(self, stream: HostStream) -> tuple[Any]:
        del self.streams[int(stream)]
        return (SUCCESS,)

    def cudaStreamSynchronize(self, stream: HostStream) -> tuple[Any]:
        assert stream.captured is None, "a stream is not waited for while it is captured"
        if self.lost is not None:
            return (self.failed(self.lost),)
        tasks, stream.waiting = stream.waiting, []
        for task in tasks:
            task()
        return (SUCCESS,)

    def cudaMemcpyAsync(
        self, target: int, source: int, count: int, kind: Any, stream: HostStream
    ) -> tuple[Any]:
        assert kind in (
            real.cudaMemcpyKind.cudaMemcpyHostToDevice,
            real.cudaMemcpyKind.cudaMemcpyDeviceToHost,
        )
        for address in (target, source):
            assert count <= ctypes.sizeof(self.allocations[address])
        stream.put(lambda: (ctypes.memmove(target, source, count), None)[1])
        return (SUCCESS,)

    def cudaStreamBeginCapture(self, stream: HostStream, mode: Any) -> tuple[Any]:
        assert mode == real.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        stream.captured = []
        stream.is_spoilt = False
        return (SUCCESS,)

    def cudaStreamEndCapture(self, stream: HostStream) -> tuple[Any, Any]:
        tasks, stream.captured = stream.captured, None
        if stream.is_spoilt:
            return self.failed(NOT_CAPTURED), None
        self.captured += 1
        return SUCCESS, tasks

    def cudaGraphInstantiate(self, graph: list[Task], flags: int) -> tuple[Any, Any]:
        assert flags == 0
        self.graphs += 1
        return SUCCESS, SimpleNamespace(tasks=list(graph))

    def cudaGraphDestroy(self, graph: list[Task]) -> tuple[Any]:
        graph.clear()
        self.captured -= 1
        return (SUCCESS,)

    def cudaGraphExecDestroy(self, executable: Any) -> tuple[Any]:
        assert executable.tasks, "a graph is destroyed once"
        executable.tasks = None
        self.graphs -= 1
        return (SUCCESS,)

    def cudaGraphLaunch(self, executable: Any, stream: HostStream) -> tuple[Any]:
        self.require_first_gpu()
        self.launches += 1
        for task in executable.tasks:
            stream.put(task)
        return (SUCCESS,)
