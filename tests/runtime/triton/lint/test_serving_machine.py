import os
import shutil
from pathlib import Path

import pytest

from lanner.machine.machine import available_cores, this_machine
from lanner.triton.lint import serving_machine
from lanner.triton.lint.serving_machine import ServingGpu, ServingMachine


def give_gpu(
    monkeypatch: pytest.MonkeyPatch, directory: Path, script: str | None, tensorrt: str = ""
) -> None:
    """Set up a container with one of several GPUs, and a script in place of nvidia-smi."""
    for name in ("nvidiactl", "nvidia3"):
        (directory / name).touch()
    monkeypatch.setattr(serving_machine, "DEVICES", directory)
    programs = directory / "bin"
    programs.mkdir()
    if script is not None:
        program = programs / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}/bin{os.pathsep}/usr/bin")
    versions = {"tensorrt-cu12": tensorrt or None}
    monkeypatch.setattr(serving_machine, "package_version", versions.get)


def test_without_a_driver_nothing_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    give_gpu(monkeypatch, tmp_path, "echo 'NVIDIA L4, 8.9'")
    (tmp_path / "nvidia3").unlink()
    fast_int8 = this_machine().has_fast_int8
    assert ServingMachine.this() == ServingMachine(available_cores(), has_fast_int8=fast_int8)


def test_cores_may_be_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(serving_machine, "DEVICES", tmp_path / "none")
    assert ServingMachine.this(cores=64).cores == 64


def test_the_gpus_are_those_of_nvidia_smi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    script = "echo 'NVIDIA H100 80GB HBM3, 9.0'; echo 'NVIDIA L4, 8.9'"
    give_gpu(monkeypatch, tmp_path, script, tensorrt="10.7.0")
    machine = ServingMachine.this()
    assert machine.has_gpu
    assert machine.gpus == (
        ServingGpu("NVIDIA H100 80GB HBM3", "9.0"),
        ServingGpu("NVIDIA L4", "8.9"),
    )
    assert machine.tensorrt == "10.7.0"


@pytest.mark.parametrize(
    "script", [None, "exit 9", "echo 'No devices were found'"], ids=["absent", "fails", "no rows"]
)
def test_a_gpu_that_does_not_say_its_name_is_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str | None
) -> None:
    if script is None:
        monkeypatch.setattr(shutil, "which", lambda _: None)
    give_gpu(monkeypatch, tmp_path, script)
    machine = ServingMachine.this()
    assert machine.has_gpu
    assert machine.gpus == ()
    assert machine.tensorrt is None


@pytest.mark.gpu
@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs nvidia-smi")
def test_this_gpu_has_a_name_and_a_compute_capability() -> None:
    machine = ServingMachine.this()
    assert machine.gpus
    assert all(gpu.name.startswith("NVIDIA") for gpu in machine.gpus)
    assert all(float(gpu.compute_capability) > 3 for gpu in machine.gpus)


@pytest.mark.parametrize(("release", "found"), [("25.12", "25.12"), ("", None), ("main", None)])
def test_the_release_of_triton_is_that_of_its_container(
    monkeypatch: pytest.MonkeyPatch, release: str, found: str | None
) -> None:
    monkeypatch.setenv("NVIDIA_TRITON_SERVER_VERSION", release)
    assert ServingMachine.this(cores=2).triton == found
