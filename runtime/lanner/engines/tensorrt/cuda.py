"""Memory, streams and graphs of CUDA, through NVIDIA's own Python bindings.

Names and meanings are those of https://docs.nvidia.com/cuda/cuda-runtime-api/, and alike in the
bindings of CUDA 12 and 13.
"""

import ctypes
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike, NDArray

from lanner.errors import EngineError, MissingExtraError

try:
    from cuda.bindings import runtime
except ImportError as error:
    what = "the tensorrt engine"
    raise MissingExtraError(what, "tensorrt", "cuda-bindings") from error

#: The first GPU that is visible, for which `lanner.machine.gpu` answers.
_GPU = 0
_RESTART = "the GPU does nothing more for this process, so start it anew"
#: What to do about an error, by its name. After those that want a new process every call fails, by
#: the documentation of cudaError.
_REMEDIES = {
    "cudaErrorInsufficientDriver": "install a newer driver, or the extra 'tensorrt' for its CUDA",
    **dict.fromkeys(
        (
            "cudaErrorAssert",
            "cudaErrorContained",
            "cudaErrorExternalDevice",
            "cudaErrorHardwareStackError",
            "cudaErrorIllegalAddress",
            "cudaErrorIllegalInstruction",
            "cudaErrorInvalidAddressSpace",
            "cudaErrorInvalidPc",
            "cudaErrorLaunchFailure",
            "cudaErrorLaunchTimeout",
            "cudaErrorMisalignedAddress",
            "cudaErrorMpsClientTerminated",
            "cudaErrorTensorMemoryLeak",
        ),
        _RESTART,
    ),
}


@contextmanager
def on_gpu() -> Iterator[None]:
    """Makes the first GPU that is visible that of this thread, for as long.

    Each thread has its own, which other code may have set to another GPU. What is made, run or
    captured must be so on one.

    Raises:
        EngineError: CUDA does not start.
    """
    error, before = runtime.cudaGetDevice()
    _require(error, "start")
    if before == _GPU:
        yield
        return
    (error,) = runtime.cudaSetDevice(_GPU)
    _require(error, "take the first GPU")
    try:
        yield
    finally:
        runtime.cudaSetDevice(before)


class DeviceMemory:
    """Memory of the GPU, not cleared.

    Args:
        size_bytes: How much.
        purpose: What it is for, for the message where there is no room.

    Raises:
        EngineError: The GPU has no room for it.
    """

    def __init__(self, size_bytes: int, purpose: str) -> None:
        self.bytes = size_bytes
        error, address = runtime.cudaMalloc(max(1, size_bytes))
        if error == runtime.cudaError_t.cudaErrorMemoryAllocation:
            _forget_error()
            msg = (
                f"the GPU is out of memory: {purpose} needs {_size(size_bytes)}, and "
                f"{_free()}: end what else runs there, or load an engine of smaller profiles"
            )
            raise EngineError(msg)
        _require(error, f"allocate {_size(size_bytes)} for {purpose}")
        self.address = int(address)

    def close(self) -> None:
        """Gives the memory back."""
        runtime.cudaFree(self.address)


class PinnedArray:
    """An array in memory of the host that the GPU reads and writes by itself.

    Attributes:
        array: Its elements, one after the other.
    """

    def __init__(self, count: int, dtype: DTypeLike) -> None:
        size_bytes = max(1, count) * np.dtype(dtype).itemsize
        # cudaMallocHost is a macro of C++; this is what it stands for.
        error, address = runtime.cudaHostAlloc(size_bytes, runtime.cudaHostAllocDefault)
        _require(error, f"pin {_size(size_bytes)} of host memory")
        self.address = int(address)
        raw = (ctypes.c_byte * size_bytes).from_address(self.address)
        self.array: NDArray[Any] = np.frombuffer(memoryview(raw), dtype=dtype)

    def shaped(self, *shape: int) -> NDArray[Any]:
        """Its first elements as an array of that shape."""
        return self.array[: math.prod(shape)].reshape(shape)

    def close(self) -> None:
        """Gives the memory back; the array must not be used any more."""
        runtime.cudaFreeHost(self.address)


class Graph:
    """Work that was captured once and is launched as a whole."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: "Stream") -> None:
        """Puts it on a stream."""
        (error,) = runtime.cudaGraphLaunch(self._executable, stream.raw)
        _require(error, "launch a graph")

    def close(self) -> None:
        """Gives back what it holds."""
        runtime.cudaGraphExecDestroy(self._executable)


class Stream:
    """A queue of work on the GPU that does not wait for other streams.

    Attributes:
        raw: CUDA's own.
    """

    def __init__(self) -> None:
        error, self.raw = runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)
        _require(error, "make a stream")

    @property
    def handle(self) -> int:
        """Its address, as TensorRT takes it."""
        return int(self.raw)

    def copy_in(self, target: DeviceMemory, source: PinnedArray, size_bytes: int) -> None:
        """From the host to the GPU."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(target.address, source.address, size_bytes, kind)

    def copy_out(self, target: PinnedArray, source: DeviceMemory, size_bytes: int) -> None:
        """From the GPU to the host; it is there after `synchronize`."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(target.address, source.address, size_bytes, kind)

    def _copy(self, target: int, source: int, size_bytes: int, kind: Any) -> None:
        (error,) = runtime.cudaMemcpyAsync(target, source, size_bytes, kind, self.raw)
        _require(error, "copy a batch")

    def synchronize(self) -> None:
        """Waits until all is done."""
        (error,) = runtime.cudaStreamSynchronize(self.raw)
        _require(error, "run the batch")

    def capture(self, work: Callable[[], object]) -> Graph:
        """A graph of what `work` puts on this stream, which is not run.

        Raises:
            EngineError: Something in it cannot be captured; the stream is as it was before.
        """
        # What other threads allocate meanwhile is no business of this capture.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        (error,) = runtime.cudaStreamBeginCapture(self.raw, mode)
        _require(error, "begin to capture a graph")
        try:
            work()
        except BaseException:
            # CUDA may have stopped the capture, or know nothing of what failed.
            _, graph = runtime.cudaStreamEndCapture(self.raw)
            if graph is not None:
                runtime.cudaGraphDestroy(graph)
            _forget_error()
            raise
        error, graph = runtime.cudaStreamEndCapture(self.raw)
        _require(error, "capture a graph")
        error, executable = runtime.cudaGraphInstantiate(graph, 0)
        runtime.cudaGraphDestroy(graph)
        _require(error, "make a captured graph runnable")
        return Graph(executable)

    def close(self) -> None:
        """Ends it, after what is on it."""
        runtime.cudaStreamDestroy(self.raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _require(error: Any, task: str) -> None:
    """Refuses a call that failed.

    Raises:
        EngineError: It did; the message is CUDA's own.
    """
    if error != runtime.cudaError_t.cudaSuccess:
        _forget_error()
        _, text = runtime.cudaGetErrorString(error)
        msg = f"CUDA could not {task}: {text.decode()} ({error.name})"
        remedy = _REMEDIES.get(error.name)
        raise EngineError(f"{msg}: {remedy}" if remedy else msg)


def _forget_error() -> None:
    """Clear the sticky error so that the next CUDA call does not report it."""
    runtime.cudaGetLastError()


def _free() -> str:
    error, free, total = runtime.cudaMemGetInfo()
    if error != runtime.cudaError_t.cudaSuccess:
        return "less is free"
    return f"{_size(free)} of {_size(total)} are free"


def _size(count: int) -> str:
    if count >= 2**30:
        return f"{count / 2**30:.1f} GiB"
    return f"{count / 2**20:.1f} MiB" if count >= 2**20 else f"{count} bytes"
