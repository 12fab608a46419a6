"""CUDA itself, as far as it goes without a driver; `tests.support.gpu.host_cuda` stands for the
rest."""

import pytest

pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")

from lanner.engines.tensorrt.cuda import DeviceMemory, PinnedArray, Stream
from lanner.errors import EngineError
from lanner.machine.gpu import this_gpu

#: What CUDA itself says of a machine without a driver.
NO_DRIVER = r"CUDA driver version is insufficient for CUDA runtime version \(cudaErrorInsufficient"

needs_no_gpu = pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")


@needs_no_gpu
def test_without_a_driver_each_says_what_could_not_be_done() -> None:
    with pytest.raises(EngineError, match=rf"^CUDA could not make a stream: {NO_DRIVER}"):
        Stream()
    message = rf"^CUDA could not allocate 2.0 MiB for a test: {NO_DRIVER}"
    with pytest.raises(EngineError, match=message):
        DeviceMemory(2**21, "a test")
    with pytest.raises(EngineError, match=rf"^CUDA could not pin 12 bytes .*: {NO_DRIVER}"):
        PinnedArray(3, "int32")


@pytest.mark.gpu
def test_memory_goes_to_the_gpu_and_back() -> None:
    given, answered = PinnedArray(8, "int64"), PinnedArray(8, "int64")
    memory = DeviceMemory(64, "a test")
    with Stream() as stream:
        given.shaped(2, 4)[:] = [[1, 2, 3, 4], [5, 6, 7, 8]]
        stream.copy_in(memory, given, 64)
        stream.copy_out(answered, memory, 64)
        stream.synchronize()
        assert answered.array.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]


@pytest.mark.gpu
def test_a_graph_is_run_when_it_is_launched() -> None:
    given, answered = PinnedArray(2, "int64"), PinnedArray(2, "int64")
    memory = DeviceMemory(16, "a test")
    with Stream() as stream:
        answered.array[:] = 0

        def work() -> None:
            stream.copy_in(memory, given, 16)
            stream.copy_out(answered, memory, 16)

        graph = stream.capture(work)
        given.array[:] = [3, 4]
        stream.synchronize()
        assert answered.array.tolist() == [0, 0]
        graph.launch(stream)
        stream.synchronize()
        assert answered.array.tolist() == [3, 4]
        graph.close()


@pytest.mark.gpu
def test_more_memory_than_there_is_says_so() -> None:
    with pytest.raises(EngineError, match=r"^the GPU is out of memory: a test needs 931322.6 GiB"):
        DeviceMemory(10**15, "a test")
