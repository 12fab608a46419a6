"""Checkpoints and artifacts that all processes of a test run share."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the directory of this name; the first process that asks for it calls `make`."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the folder that all processes of the run share
    folder = folder / "shared"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done, directory = folder / f"{name}.done", folder / name
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)  # left by a process that failed
            make(directory)
            done.touch()
    return directory
