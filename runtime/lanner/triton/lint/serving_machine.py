"""The serving machine: its cores, GPUs and TensorRT."""

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from lanner.machine.machine import (
    TENSORRT_PACKAGES,
    available_cores,
    package_version,
    this_machine,
)

#: The device files of the NVIDIA driver. A container may have been given only the second GPU.
DEVICES, _GPU_PATTERN = Path("/dev"), "nvidia[0-9]*"
_NVIDIA_SMI_SECONDS = 30


@dataclass(frozen=True)
class ServingGpu:
    """One GPU.

    Attributes:
        name: The driver's name for it, for example ``"NVIDIA H100 80GB HBM3"``.
        compute_capability: For example ``"9.0"``.
    """

    name: str
    compute_capability: str


@dataclass(frozen=True)
class ServingMachine:
    """The machine that a repository is checked for.

    Attributes:
        cores: Cores that the server may use.
        has_gpu: True if the machine has an NVIDIA GPU.
        gpus: The GPUs that nvidia-smi reports.
        tensorrt: The version of TensorRT, or None if unknown.
        has_fast_int8: True if the processor multiplies signed bytes exactly (VNNI or AMX).
        triton: The release of Triton, ``"26.02"``, or None if unknown.
    """

    cores: int
    has_gpu: bool = False
    gpus: tuple[ServingGpu, ...] = ()
    tensorrt: str | None = None
    has_fast_int8: bool = True
    triton: str | None = None

    @classmethod
    def this(cls, cores: int | None = None) -> Self:
        """Return this machine.

        Args:
            cores: Cores that the server may use; None for those that this process may use.
        """
        has_gpu = any(DEVICES.glob(_GPU_PATTERN))
        versions = map(package_version, ("tensorrt", *TENSORRT_PACKAGES))
        return cls(
            cores=available_cores() if cores is None else cores,
            has_gpu=has_gpu,
            gpus=_gpus() if has_gpu else (),
            tensorrt=next((version for version in versions if version is not None), None),
            has_fast_int8=this_machine().has_fast_int8,
            triton=_triton(),
        )


def _triton() -> str | None:
    """Return the release of Triton in whose container this is: NVIDIA sets a variable there."""
    release = os.environ.get("NVIDIA_TRITON_SERVER_VERSION", "")
    return release if re.fullmatch(r"\d\d\.\d\d", release) else None


def _gpus() -> tuple[ServingGpu, ...]:
    program = shutil.which("nvidia-smi")
    if program is None:
        return ()
    command = [program, "--query-gpu=name,compute_cap", "--format=csv,noheader"]
    try:
        answer = subprocess.run(  # noqa: S603 (a fixed command)
            command, capture_output=True, text=True, timeout=_NVIDIA_SMI_SECONDS, check=True
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = (line.rpartition(",") for line in answer.splitlines())
    return tuple(
        ServingGpu(name.strip(), capability.strip()) for name, comma, capability in rows if comma
    )
