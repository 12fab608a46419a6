"""The NVIDIA GPU that CUDA programs of this process use, queried from the driver alone.

Only the driver needs to be installed; without one the query costs a failed look-up of a library.
CUDA's own rules hold: ``CUDA_VISIBLE_DEVICES`` filters, the first remaining GPU counts, and a
forked process cannot use CUDA that its parent started. The calls are those of
https://docs.nvidia.com/cuda/cuda-driver-api/.
"""

import ctypes
import os
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lanner.errors import EngineError

LIBRARY = "libcuda.so.1"
#: The file with the kernel module's version.
_DRIVER_VERSION = Path("/sys/module/nvidia/version")
#: CUdevice_attribute: CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR.
_CAPABILITY_MAJOR, _CAPABILITY_MINOR = 75, 76
_NO_DEVICE = 100  # CUresult: CUDA_ERROR_NO_DEVICE
_NAME_BYTES = 256


@dataclass(frozen=True)
class Gpu:
    """One GPU.

    Attributes:
        name: The name that CUDA reports: ``"NVIDIA H100 80GB HBM3"``.
        compute_capability: For example ``"9.0"``.
        memory_bytes: The total memory.
        driver: The version of the driver, ``"570.86.15"``; empty if unknown.
        cuda: The newest CUDA version that the driver supports, ``"12.8"``.
    """

    name: str
    compute_capability: str
    memory_bytes: int
    driver: str
    cuda: str

    def to_json(self) -> dict[str, Any]:
        """Return the fields as plain JSON values."""
        return asdict(self)

    def __str__(self) -> str:
        driver = f", driver {self.driver}" if self.driver else ""
        return (
            f"{self.name}, compute capability {self.compute_capability}, "
            f"{self.memory_bytes / 2**30:.0f} GiB{driver}, CUDA {self.cuda}"
        )


def this_gpu() -> Gpu | None:
    """Return the GPU that CUDA uses, or None; the driver is asked once."""
    found = _found()
    return found if isinstance(found, Gpu) else None


def require_gpu(what: str) -> Gpu:
    """Return the GPU that CUDA uses.

    Args:
        what: The feature that needs it, for the message: ``"the tensorrt engine"``.

    Raises:
        EngineError: There is no GPU; the message says why.
    """
    found = _found()
    if isinstance(found, str):
        msg = (
            f"{what} needs an NVIDIA GPU, but {found}: run it on a machine with one, or load "
            "another variant with device='cpu'"
        )
        raise EngineError(msg)
    return found


def missing_gpu() -> str:
    """Return the reason why there is no GPU, or an empty string if there is one."""
    found = _found()
    return found if isinstance(found, str) else ""


def _found() -> Gpu | str:
    found, process = _ask()
    if isinstance(found, Gpu) and process != os.getpid():
        return "this process was forked from one that uses CUDA (start it with 'spawn' instead)"
    return found


@cache
def _ask() -> tuple[Gpu | str, int]:
    """Return the driver's answer, and the id of the process that asked."""
    return _answer(), os.getpid()


def _answer() -> Gpu | str:
    try:
        driver = ctypes.CDLL(LIBRARY)
    except OSError:
        return f"this machine has no NVIDIA driver ({LIBRARY} is not found)"
    status = driver.cuInit(0)
    count = ctypes.c_int(0)
    if not status:
        status = driver.cuDeviceGetCount(ctypes.byref(count))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    of_those = "" if visible is None else f" (CUDA_VISIBLE_DEVICES is {visible!r})"
    if status not in (0, _NO_DEVICE):
        return f"its driver does not start (CUresult {status}{of_those})"
    return _first(driver) if count.value else f"its driver finds no GPU{of_those}"


def _first(driver: ctypes.CDLL) -> Gpu:
    device, version = ctypes.c_int(0), ctypes.c_int(0)
    name, memory = ctypes.create_string_buffer(_NAME_BYTES), ctypes.c_size_t(0)
    driver.cuDeviceGet(ctypes.byref(device), 0)
    driver.cuDeviceGetName(name, _NAME_BYTES, device)
    driver.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    driver.cuDriverGetVersion(ctypes.byref(version))
    parts = []
    for attribute in (_CAPABILITY_MAJOR, _CAPABILITY_MINOR):
        part = ctypes.c_int(0)
        driver.cuDeviceGetAttribute(ctypes.byref(part), attribute, device)
        parts.append(str(part.value))
    return Gpu(
        name=name.value.decode(),
        compute_capability=".".join(parts),
        memory_bytes=memory.value,
        driver=_driver_version(),
        cuda=f"{version.value // 1000}.{version.value % 1000 // 10}",
    )


def _driver_version() -> str:
    try:
        return _DRIVER_VERSION.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
