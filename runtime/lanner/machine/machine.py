"""The machine: usable cores, CPU, instruction sets, memory, versions."""

import os
import platform
import sys
from dataclasses import asdict, dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from lanner.machine.cgroups import quota_cores
from lanner.machine.cpuid import missing_flags

#: Flags of /proc/cpuinfo that decide which precision is fast, in display order.
NOTABLE_CPU_FLAGS = (
    "avx2",
    "avx512f",
    "avx_vnni",
    "avx512_vnni",
    "avx512_bf16",
    "amx_bf16",
    "amx_int8",
)

#: Any of these multiplies unsigned by signed bytes without the 16-bit saturation of older CPUs
#: (ONNX Runtime's documentation, "Quantize ONNX models", data type selection).
INT8_CPU_FLAGS = frozenset({"avx_vnni", "avx512_vnni", "amx_int8"})

#: Any of these multiplies bfloat16.
BF16_CPU_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})

#: The distributions of TensorRT, for each generation of CUDA; "tensorrt" names one of them.
TENSORRT_PACKAGES = ("tensorrt-cu13", "tensorrt-cu12")


@dataclass(frozen=True)
class Machine:
    """One machine, in the form that benchmarks and quality cards record.

    Attributes:
        cpu: Model name of the processor.
        cores: Cores that this process may use.
        cpu_flags: Those of `NOTABLE_CPU_FLAGS` that the processor has.
        memory_bytes: Physical memory.
        system: Operating system and its version.
        python: Version of the interpreter.
    """

    cpu: str
    cores: int
    cpu_flags: tuple[str, ...]
    memory_bytes: int
    system: str
    python: str

    @property
    def has_fast_int8(self) -> bool:
        """True if 8-bit matrix products are both exact and fast here (VNNI or AMX)."""
        return not INT8_CPU_FLAGS.isdisjoint(self.cpu_flags)

    @property
    def has_bf16(self) -> bool:
        """True if the CPU has instructions for bfloat16 products (AVX-512 BF16 or AMX)."""
        return not BF16_CPU_FLAGS.isdisjoint(self.cpu_flags)

    def to_json(self) -> dict[str, object]:
        """Return the fields as plain JSON values."""
        return {**asdict(self), "cpu_flags": list(self.cpu_flags)}


def available_cores() -> int:
    """Return the number of usable cores: the CPU affinity, limited by the container's quota."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(affinity or 1, quota_cores() or sys.maxsize))


@cache
def this_machine() -> Machine:
    """Return the machine that this process runs on; read once."""
    cpu, flags = _cpu_name_and_flags()
    flags -= missing_flags()
    return Machine(
        cpu=cpu,
        cores=available_cores(),
        cpu_flags=tuple(flag for flag in NOTABLE_CPU_FLAGS if flag in flags),
        memory_bytes=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def _cpu_name_and_flags() -> tuple[str, frozenset[str]]:
    name, flags = platform.processor() or platform.machine(), frozenset[str]()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return name, flags
    for line in lines:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() == "flags":
            flags = frozenset(value.split())
            break  # all cores of a machine are alike
    return name, flags


def has_module(name: str) -> bool:
    """True if a module, perhaps within a package, can be imported."""
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # its parent package is missing
        return False


def package_version(name: str) -> str | None:
    """Return the installed version of a distribution, or None."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def package_versions(*names: str) -> dict[str, str]:
    """Return the versions of those of the distributions that are installed."""
    found = {name: package_version(name) for name in names}
    return {name: version for name, version in found.items() if version is not None}
