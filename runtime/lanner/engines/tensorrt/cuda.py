"""Memory, streams and graphs of CUDA, through NVIDIA's own Python bindings.

Names and meanings are those of https://docs.nvidia.com/cuda/cuda-runtime-api/, and the same in the
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

#: The first visible GPU, the one that `lanner.machine.gpu` describes.
_GPU = 0
_RESTART = "the GPU no longer works for this process, so restart it"
#: The remedy for each error, by name. After the errors with `_RESTART` every call fails, by the
#: documentation of cudaError.
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
    """Select the first visible GPU for this thread, within the block.

    Each thread has a current GPU, and other code may have selected another. Memory, streams and
    graphs must all be used on the GPU that they were made on.

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
    """Uninitialized memory of the GPU.

    Args:
        size_bytes: The size.
        purpose: The purpose, for the message if there is no room.

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
                f"{_free()}: end other programs on it, or load an engine with smaller profiles"
            )
            raise EngineError(msg)
        _require(error, f"allocate {_size(size_bytes)} for {purpose}")
        self.address = int(address)

    def close(self) -> None:
        """Free the memory."""
        runtime.cudaFree(self.address)


class PinnedArray:
    """An array in host memory that the GPU reads and writes directly.

    Attributes:
        array: The elements, flat.
    """

    def __init__(self, count: int, dtype: DTypeLike) -> None:
        size_bytes = max(1, count) * np.dtype(dtype).itemsize
        # The C++ macro cudaMallocHost expands to this call.
        error, address = runtime.cudaHostAlloc(size_bytes, runtime.cudaHostAllocDefault)
        _require(error, f"pin {_size(size_bytes)} of host memory")
        self.address = int(address)
        raw = (ctypes.c_byte * size_bytes).from_address(self.address)
        self.array: NDArray[Any] = np.frombuffer(memoryview(raw), dtype=dtype)

    def shaped(self, *shape: int) -> NDArray[Any]:
        """Return the first elements as an array of that shape."""
        return self.array[: math.prod(shape)].reshape(shape)

    def close(self) -> None:
        """Free the memory; the array must not be used any more."""
        runtime.cudaFreeHost(self.address)


class Graph:
    """A CUDA graph: work that was captured once and is launched as a whole."""

    def __init__(self, executable: Any) -> None:
        self._executable = executable

    def launch(self, stream: "Stream") -> None:
        """Launch the graph on a stream."""
        (error,) = runtime.cudaGraphLaunch(self._executable, stream.raw)
        _require(error, "launch a graph")

    def close(self) -> None:
        """Free the graph."""
        runtime.cudaGraphExecDestroy(self._executable)


class Stream:
    """A queue of work on the GPU that does not wait for other streams.

    Attributes:
        raw: The stream object of CUDA's bindings.
    """

    def __init__(self) -> None:
        error, self.raw = runtime.cudaStreamCreateWithFlags(runtime.cudaStreamNonBlocking)
        _require(error, "make a stream")

    @property
    def handle(self) -> int:
        """Address of the stream, for TensorRT."""
        return int(self.raw)

    def copy_in(self, target: DeviceMemory, source: PinnedArray, size_bytes: int) -> None:
        """Copy from the host to the GPU."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._copy(target.address, source.address, size_bytes, kind)

    def copy_out(self, target: PinnedArray, source: DeviceMemory, size_bytes: int) -> None:
        """Copy from the GPU to the host; the copy is complete after `synchronize`."""
        kind = runtime.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._copy(target.address, source.address, size_bytes, kind)

    def _copy(self, target: int, source: int, size_bytes: int, kind: Any) -> None:
        (error,) = runtime.cudaMemcpyAsync(target, source, size_bytes, kind, self.raw)
        _require(error, "copy a batch")

    def synchronize(self) -> None:
        """Wait until all work is done."""
        (error,) = runtime.cudaStreamSynchronize(self.raw)
        _require(error, "run the batch")

    def capture(self, work: Callable[[], object]) -> Graph:
        """Capture the work that `work` puts on this stream as a graph, without running it.

        Raises:
            EngineError: The work cannot be captured; the stream is in the same state as before.
        """
        # Allocations of other threads must not disturb this capture.
        mode = runtime.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
        (error,) = runtime.cudaStreamBeginCapture(self.raw, mode)
        _require(error, "begin to capture a graph")
        try:
            work()
        except BaseException:
            # CUDA may have stopped the capture, or may not know of the failure.
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
        """Destroy the stream, after the work on it."""
        runtime.cudaStreamDestroy(self.raw)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _require(error: Any, task: str) -> None:
    """Check the result of a CUDA call.

    Raises:
        EngineError: The call failed; the message is CUDA's own.
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
