"""The search for a server, in fake directories; `test_server` starts a real one."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lanner
from lanner.errors import ServerError
from lanner.triton.server import installation
from lanner.triton.server.installation import Installation, find_tritonserver

PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"


@pytest.fixture(autouse=True)
def _nothing_is_found(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("LANNER_TRITONSERVER", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "path"))
    monkeypatch.setattr(installation, "find_spec", lambda _: None)


def make_server(root: Path) -> Path:
    binary = root / "bin" / "tritonserver"
    binary.parent.mkdir(parents=True)
    binary.write_text("#!/bin/sh\n")
    binary.chmod(0o755)
    return binary


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """Return the program in a wheel whose Python backend is for the running Python."""
    binary = make_server(tmp_path / "wheel" / "pytriton" / "tritonserver")
    add(binary, "backends/python/libtriton_python.so", "backends/python/__pycache__/a.pyc")
    add(binary, f"python_backend_stubs/{PYTHON}/triton_python_backend_stub")
    add(binary, "caches/local/libtritoncache_local.so")
    add(binary, "../../nvidia_pytriton.libs/libz.so", "../../numpy/__init__.py")
    add_numpy(binary, "1.26.4")
    return binary


def add(binary: Path, *names: str) -> None:
    for name in names:
        path = (binary.parents[1] / name).resolve()
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def add_numpy(binary: Path, version: str) -> None:
    information = binary.parents[3] / f"numpy-{version}.dist-info"
    information.mkdir()
    (information / "METADATA").write_text(f"Name: numpy\nVersion: {version}\n")


def test_none_is_found_and_the_way_to_one_is_said(tmp_path: Path) -> None:
    message = (
        "tritonserver was not found: pip install --no-deps --target DIR nvidia-pytriton 'numpy<2', "
        "and set LANNER_TRITONSERVER=DIR/pytriton/tritonserver/bin/tritonserver"
    )
    with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
        find_tritonserver()
    message += (
        "; or use NVIDIA's container: docker run --rm --shm-size=1g -p 8000-8002:8000-8002 "
        f"-v {tmp_path}/models:/models nvcr.io/nvidia/tritonserver:YY.MM-py3 tritonserver "
        "--model-repository=/models"
    )
    with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
        find_tritonserver(tmp_path / "models")


def test_the_variable_wins_over_the_path_and_that_over_a_wheel(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Spec:
        submodule_search_locations = (str(wheel.parents[2]),)

    monkeypatch.setattr(installation, "find_spec", lambda _: Spec)
    assert find_tritonserver() == Installation(wheel, "nvidia-pytriton")
    on_path = make_server(tmp_path / "opt")
    monkeypatch.setenv("PATH", str(on_path.parent))
    assert find_tritonserver() == Installation(on_path, "PATH")
    named = make_server(tmp_path / "own")
    monkeypatch.setenv("LANNER_TRITONSERVER", str(named))
    assert find_tritonserver() == Installation(named, "LANNER_TRITONSERVER")


def test_a_variable_that_names_nothing_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANNER_TRITONSERVER", str(tmp_path / "gone"))
    message = (
        f"^LANNER_TRITONSERVER names {tmp_path}/gone, but the file does not exist: pip install "
    )
    with pytest.raises(ServerError, match=message):
        find_tritonserver()


def test_a_program_that_may_not_be_run(wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel.chmod(0o644)
    monkeypatch.setenv("LANNER_TRITONSERVER", str(wheel))
    with pytest.raises(ServerError, match=f"^{wheel} is not executable: chmod \\+x {wheel}$"):
        find_tritonserver()


def test_a_wheel_without_this_python_says_which_it_has(
    wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stubs = wheel.parents[1] / "python_backend_stubs"
    (stubs / PYTHON).rename(stubs / "3.10")
    (stubs / "3.8").mkdir()
    monkeypatch.setenv("LANNER_TRITONSERVER", str(wheel))
    message = (
        f"{wheel} runs models in Python 3.8, 3.10, but this is Python {PYTHON}: install Lanner in "
        "one of those, or use a newer nvidia-pytriton"
    )
    with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
        find_tritonserver()


@pytest.mark.skipif(np.__version__.startswith("1."), reason="this numpy would do for the wheel")
@pytest.mark.parametrize("beside", [None, "2.4.0"])
def test_a_wheel_without_a_numpy_that_it_can_use(
    wheel: Path, monkeypatch: pytest.MonkeyPatch, beside: str | None
) -> None:
    (wheel.parents[3] / "numpy-1.26.4.dist-info").rename(wheel.parents[3] / "moved")
    if beside:
        add_numpy(wheel, beside)
    monkeypatch.setenv("LANNER_TRITONSERVER", str(wheel))
    message = (
        "the Python backend of nvidia-pytriton gives its models wrong inputs with numpy "
        f"{np.__version__}: pip install --no-deps --target {wheel.parents[3]} 'numpy<2'"
    )
    with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
        find_tritonserver()


def test_a_wheel_is_laid_out_and_not_written_to(
    wheel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own packages"
    own.mkdir()
    (own / "of_this_process.py").touch()
    monkeypatch.syspath_prepend(str(own))
    monkeypatch.setenv("LD_LIBRARY_PATH", "/before")
    add(wheel, "backends/onnxruntime/libtriton_onnxruntime.so")
    before = sorted(wheel.parents[3].rglob("*"))
    work = tmp_path / "work"
    work.mkdir()
    options, environment = Installation(wheel, "the test").lay_out(work)
    root = wheel.parents[1]
    assert options == [f"--backend-directory={work}/backends", f"--cache-directory={root}/caches"]
    assert sorted(path.name for path in (work / "backends" / "python").iterdir()) == [
        "libtriton_python.so",
        "triton_python_backend_stub",
    ]
    assert (work / "backends" / "onnxruntime" / "libtriton_onnxruntime.so").is_file()
    libraries = environment["LD_LIBRARY_PATH"].split(":")
    expected = [f"{work}/python/libpython", f"{wheel.parents[3]}/nvidia_pytriton.libs", "/before"]
    assert libraries == expected
    assert environment["PATH"].split(":")[0] == f"{work}/python/bin"
    # This Python is as isolated as the stub. It imports what the process does, that numpy first.
    code = (
        "import numpy, of_this_process, sys; from importlib.util import find_spec; "
        "print(find_spec('lanner').origin, numpy.__file__, sys.dont_write_bytecode, sep='\\n')"
    )
    python = work / "python" / "bin" / "python3"
    found = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=True)
    packages = work / "python" / "lib" / f"python{PYTHON}" / "site-packages"
    expected = [str(lanner.__file__), f"{packages}/numpy/__init__.py", "True"]
    assert found.stdout.splitlines() == expected
    assert sorted(wheel.parents[3].rglob("*")) == before


@pytest.mark.parametrize("linked", [PYTHON, "3.6"])
def test_a_build_of_ones_own_gets_this_environment_if_its_python_is_this(
    tmp_path: Path, linked: str
) -> None:
    binary = make_server(tmp_path / "opt" / "tritonserver")
    add(binary, "backends/python/triton_python_backend_stub")
    stub = tmp_path / "opt" / "tritonserver" / "backends" / "python" / "triton_python_backend_stub"
    stub.write_bytes(b"\x7fELF\0libpython" + linked.encode() + b".so.1.0\0")
    work = tmp_path / "work"
    work.mkdir()
    options, environment = Installation(binary, "the test").lay_out(work)
    assert options == [f"--backend-directory={tmp_path}/opt/tritonserver/backends"]
    assert (f"{work}/python/bin" in environment["PATH"]) == (linked == PYTHON)
    assert not Installation(binary, "the test").has_cache


def test_a_server_alone_needs_nothing(tmp_path: Path) -> None:
    binary = make_server(tmp_path / "alone")
    options, environment = Installation(binary, "the test").lay_out(tmp_path)
    assert options == []
    assert environment["PATH"] == str(tmp_path / "path")
