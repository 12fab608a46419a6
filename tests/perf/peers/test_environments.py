"""Real environments, made from a package of a few bytes."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lanner_perf.peers.environments import (
    NAMES,
    REQUIREMENTS,
    Environment,
    make_environments,
    pip_error,
)
from lanner_perf.subjects.subject import SubjectError


@pytest.fixture(autouse=True)
def _without_an_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")


def write_wheel(directory: Path, version: str) -> Path:
    file = directory / f"tiny_peer-{version}-py3-none-any.whl"
    info = f"tiny_peer-{version}.dist-info"
    with zipfile.ZipFile(file, "w") as wheel:
        wheel.writestr("tiny_peer.py", f"VERSION = {version!r}\n")
        wheel.writestr(
            f"{info}/METADATA", f"Metadata-Version: 2.1\nName: tiny-peer\nVersion: {version}\n"
        )
        wheel.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr(f"{info}/RECORD", "")
    return file


def test_the_requirements_are_pinned() -> None:
    assert set(NAMES) == {"infinity", "light", "sentence-transformers"}
    for name in NAMES:
        lines = (REQUIREMENTS / f"{name}.txt").read_text().splitlines()
        assert lines, name
        assert all("==" in line and "+" not in line for line in lines), name
        torch = [line for line in lines if line.startswith("torch==")]
        assert torch in ([], ["torch==2.13.0"])  # another version may bring gigabytes for CUDA


@pytest.mark.slow
def test_it_is_made_once_and_anew_where_it_asks_for_something_else(tmp_path: Path) -> None:
    pins = tmp_path / "tiny.txt"
    pins.write_text(f"tiny-peer @ file://{write_wheel(tmp_path, '1.0')}\n")
    environment = Environment("tiny", tmp_path / "peers", tmp_path)
    assert not environment.is_made()
    environment.make()
    assert environment.is_made()
    command = [str(environment.python), "-c", "import tiny_peer; print(tiny_peer.VERSION)"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "1.0\n"
    mark = environment.directory / "mark"
    mark.touch()
    environment.make()
    assert mark.exists()  # it was reused unchanged

    # A failed installation leaves the old environment, and nothing beside it.
    pins.write_text("no-such-package==1\n")
    assert not environment.is_made()
    with pytest.raises(
        SubjectError,
        match=r"^the environment 'tiny' failed at installing it: "
        r"No matching distribution found for no-such-package==1$",
    ):
        environment.make()
    assert mark.exists()
    assert [file.name for file in (tmp_path / "peers").iterdir()] == ["tiny"]


def test_a_place_that_is_none_is_every_environments_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    environment = Environment("light", tmp_path / "file")
    told: list[str] = []
    reasons = make_environments([environment], Environment.make, told.append)
    assert told == ["installing the environment light"]
    assert list(reasons) == ["light"]
    assert reasons["light"].startswith("the environment 'light' could not be made: [Errno ")


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        ("WARNING: a\nERROR: first\nERROR: no such thing\nWARNING: b\n", "no such thing"),
        ("one\ntwo\n", "two"),
        ("", "it said nothing"),
    ],
)
def test_the_last_error_of_pip(output: str, expected: str) -> None:
    assert pip_error(output) == expected


def test_an_unknown_name_is_wrong_usage(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lanner_perf.peers.environments", str(tmp_path), "gone"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.endswith(
        "error: there is no environment 'gone': the names are "
        "infinity, light, sentence-transformers\n"
    )
