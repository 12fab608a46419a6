"""Checkpoints and artifacts that all processes of a run of the tests share."""

import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return the directory of this name; the first process to ask for it has `make` write it."""
    folder = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # of the run, beside those of its other processes
    folder = folder / "shared"
    folder.mkdir(exist_ok=True)
    with (folder / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done, directory = folder / f"{name}.done", folder / name
        if not done.exists():
            shutil.rmtree(directory, ignore_errors=True)  # of somebody who failed
            make(directory)
            done.touch()
    return directory
