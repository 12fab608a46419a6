import multiprocessing
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.gpu.driver import write_driver

from lanner.errors import EngineError
from lanner.machine import gpu
from lanner.machine.gpu import Gpu, missing_gpu, require_gpu, this_gpu


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    gpu._ask.cache_clear()
    yield
    gpu._ask.cache_clear()


def use_driver(monkeypatch: pytest.MonkeyPatch, library: Path) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", str(library))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_the_driver_says_what_the_gpu_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_driver(monkeypatch, write_driver(tmp_path))
    (tmp_path / "version").write_text("570.86.15\n")
    monkeypatch.setattr(gpu, "_DRIVER_VERSION", tmp_path / "version")
    found = this_gpu()
    assert found == Gpu("NVIDIA H100 80GB HBM3", "9.0", 80 * 2**30, "570.86.15", "12.8")
    assert str(found) == (
        "NVIDIA H100 80GB HBM3, compute capability 9.0, 80 GiB, driver 570.86.15, CUDA 12.8"
    )
    assert require_gpu("anything") == found
    assert missing_gpu() == ""


def test_a_driver_of_unknown_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_driver(monkeypatch, write_driver(tmp_path))
    monkeypatch.setattr(gpu, "_DRIVER_VERSION", tmp_path / "none")
    assert str(this_gpu()) == "NVIDIA H100 80GB HBM3, compute capability 9.0, 80 GiB, CUDA 12.8"


def test_a_machine_without_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "LIBRARY", str(tmp_path / "libcuda.so.1"))
    assert this_gpu() is None
    assert missing_gpu() == f"this machine has no NVIDIA driver ({gpu.LIBRARY} is not found)"
    message = (
        r"^the tensorrt engine needs an NVIDIA GPU, but this machine has no NVIDIA driver "
        r"\(.*libcuda.so.1 is not found\): run it on a machine with one, or load another variant "
        r"with device='cpu'$"
    )
    with pytest.raises(EngineError, match=message):
        require_gpu("the tensorrt engine")


def test_a_driver_that_finds_no_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_driver(monkeypatch, write_driver(tmp_path, count=0))
    assert missing_gpu() == "its driver finds no GPU"


def test_gpus_that_were_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_driver(monkeypatch, write_driver(tmp_path, count=0, init=100))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert missing_gpu() == "its driver finds no GPU (CUDA_VISIBLE_DEVICES is '')"


def test_a_driver_that_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    use_driver(monkeypatch, write_driver(tmp_path, init=803))
    assert missing_gpu() == "its driver does not start (CUresult 803)"


def test_what_the_driver_said_does_not_hold_in_a_forked_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use_driver(monkeypatch, write_driver(tmp_path))
    assert this_gpu() is not None
    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=lambda: found.put((this_gpu(), missing_gpu())))
    process.start()
    process.join()
    assert found.get() == (
        None,
        "this process was forked from one that uses CUDA (start it with 'spawn' instead)",
    )
    assert this_gpu() is not None


def test_the_numbers_are_those_of_cuda() -> None:
    driver = pytest.importorskip("cuda.bindings.driver", reason="needs the package cuda-bindings")
    attribute = driver.CUdevice_attribute
    assert attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR == gpu._CAPABILITY_MAJOR
    assert attribute.CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR == gpu._CAPABILITY_MINOR
    assert driver.CUresult.CUDA_ERROR_NO_DEVICE == gpu._NO_DEVICE


@pytest.mark.gpu
def test_the_gpu_of_this_machine() -> None:
    found = require_gpu("the test")
    assert found.name.startswith(("NVIDIA", "Tesla", "Quadro", "GeForce"))
    assert 2**30 < found.memory_bytes < 2**40
    major, minor = found.compute_capability.split(".")
    assert major.isdecimal()
    assert minor.isdecimal()
