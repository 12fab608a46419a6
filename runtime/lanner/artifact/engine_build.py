"""The record of a TensorRT engine's build; the engine runs only where the record fits.

An engine (TensorRT calls it a plan) holds kernels that one version of TensorRT chose by timing them
on one GPU, for the shapes of its profiles
(https://docs.nvidia.com/deeplearning/tensorrt/latest/inference-library/advanced.html).
"""

import re
from dataclasses import dataclass, field
from typing import Any, Self

from lanner.errors import InputError

#: The other GPUs that an engine may run on, by the names of TensorRT's
#: `HardwareCompatibilityLevel`.
HARDWARE_COMPATIBILITIES = ("none", "ampere_plus", "same_compute_capability")
#: Pairs (earlier, later) of major versions; the later loads compatible engines of the earlier
#: (https://docs.nvidia.com/deeplearning/tensorrt/11.4.1/getting-started/support-matrix.html).
_LATER_MAJORS = {(10, 11)}
_NAME = re.compile(
    r"model\.(?P<gpu>.+)-sm(?P<capability>\d+)-(?P<precision>[a-z0-9]+)-(?P<tensorrt>\d+(\.\d+)*)\.plan"
)


@dataclass(frozen=True)
class Profile:
    """The shapes [batch, length] that an engine takes in one of its contexts.

    Attributes:
        smallest: The smallest batch and length.
        typical: The batch and length that the kernels are chosen for.
        largest: The largest batch and length.
    """

    smallest: tuple[int, int]
    typical: tuple[int, int]
    largest: tuple[int, int]

    def __post_init__(self) -> None:
        shapes = (self.smallest, self.typical, self.largest)
        if any(len(shape) != 2 for shape in shapes) or not all(
            1 <= low <= middle <= high for low, middle, high in zip(*shapes, strict=True)
        ):
            msg = (
                f"the profile {shapes} must have three shapes (batch, length) of at least 1, none "
                "smaller than the one before"
            )
            raise InputError(msg)

    def takes(self, batch: int, length: int) -> bool:
        """Return whether inputs [batch, length] are within the profile."""
        (low_batch, low_length), (high_batch, high_length) = self.smallest, self.largest
        return low_batch <= batch <= high_batch and low_length <= length <= high_length

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read the output of `dataclasses.asdict` and JSON."""
        return cls(**{name: tuple(shape) for name, shape in content.items()})


@dataclass(frozen=True)
class EngineBuild:
    """The GPU, TensorRT version, profiles and settings of an engine's build.

    Attributes:
        gpu: The GPU's name in CUDA: ``"NVIDIA H100 80GB HBM3"``.
        compute_capability: The GPU's compute capability, ``"9.0"``.
        tensorrt: The version of TensorRT, ``"10.13.3.9"``, or of its package, with ``".post1"``.
        profiles: The shapes that the engine takes; contexts of different profiles run in parallel.
        is_version_compatible: True if later versions of TensorRT load it, too: those of the same
            major version, and 11 for an engine of 10.
        hardware_compatibility: One of `HARDWARE_COMPATIBILITIES`: the other GPUs that run it.
        settings: Other settings of the builder: optimization level, workspace.
    """

    gpu: str
    compute_capability: str
    tensorrt: str
    profiles: list[Profile]
    is_version_compatible: bool = False
    hardware_compatibility: str = HARDWARE_COMPATIBILITIES[0]
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read the output of `dataclasses.asdict` and JSON."""
        profiles = [Profile.from_json(profile) for profile in content["profiles"]]
        return cls(**{**content, "profiles": profiles})

    def file_name(self, precision: str) -> str:
        """Return the file name: ``model.nvidia-h100-80gb-hbm3-sm90-fp16-10.13.3.9.plan``."""
        gpu = re.sub(r"[^a-z0-9]+", "-", self.gpu.lower()).strip("-")
        capability = self.compute_capability.replace(".", "")
        version = ".".join(map(str, _numbers(self.tensorrt)))
        return f"model.{gpu}-sm{capability}-{precision}-{version}.plan"

    def refusal(self, *, gpu: str, compute_capability: str, tensorrt: str) -> str:
        """Return the reason why the engine does not run on a GPU, or an empty string."""
        if not _is_version_taken(self.tensorrt, tensorrt, self.is_version_compatible):
            return f"it was built with TensorRT {self.tensorrt}, but this machine has {tensorrt}"
        if self.hardware_compatibility == "ampere_plus":
            is_gpu_taken = _numbers(compute_capability) >= (8, 0)
        elif self.hardware_compatibility == "same_compute_capability":
            is_gpu_taken = compute_capability == self.compute_capability
        else:
            is_gpu_taken = (gpu, compute_capability) == (self.gpu, self.compute_capability)
        if is_gpu_taken:
            return ""
        return (
            f"it was built for {self.gpu} (compute capability {self.compute_capability}), but this "
            f"machine has {gpu} ({compute_capability})"
        )


def parse_file_name(name: str) -> dict[str, str] | None:
    """Parse `gpu`, `capability`, `precision` and `tensorrt` from an engine's file name, or None."""
    match = _NAME.fullmatch(name)
    return None if match is None else match.groupdict()


def is_same_version(built: str, here: str) -> bool:
    """Return whether one version of TensorRT loads the engines of another.

    TensorRT compares four numbers: major, minor, patch and build
    (https://developer.nvidia.com/docs/drive/drive-os/7.0.3/public/drive-os-tensorrt-release-notes/release-properties.html).
    A suffix, as in ``10.13.3.9.post1``, is a version of the Python package only.
    """
    return _numbers(built) == _numbers(here)


def _is_version_taken(built: str, here: str, is_compatible: bool) -> bool:
    if not is_compatible:
        return is_same_version(built, here)
    first, second = _numbers(built), _numbers(here)
    return first <= second and (first[0] == second[0] or (first[0], second[0]) in _LATER_MAJORS)


def _numbers(version: str) -> tuple[int, ...]:
    # Python refuses to make a number of thousands of digits.
    return tuple(int(part) for part in re.findall(r"[0-9]{1,18}", version)[:4])
