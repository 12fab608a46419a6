"""The modules that an import of Lanner, or a command, brings with it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.imports import CLIENTS, HEAVY, modules_after


def test_importing_lanner_imports_no_engine_and_no_framework() -> None:
    assert not modules_after("import lanner") & (HEAVY | {"onnxruntime", "lanner_export"})


def test_importing_lanner_imports_no_client_of_triton() -> None:
    # These modules are what a client is made of, as far as no server is talked to.
    code = "import lanner, lanner.triton.client.triton_engine, lanner.triton.client.text_requests"
    assert not modules_after(code) & (HEAVY | CLIENTS)


def test_encoding_needs_neither_torch_nor_transformers(word_artifact: Path) -> None:
    code = "import sys, lanner; lanner.load(sys.argv[1]).encode(['a', 'b'])"
    modules = modules_after(code, str(word_artifact))
    assert "onnxruntime" in modules
    assert not modules & (HEAVY | CLIENTS | {"lanner_export"})


@pytest.mark.parametrize(
    "arguments",
    [
        *("['--help']", "['export', '--help']", "['repository', '--help']", "['serve', '--help']"),
        "['doctor']",
    ],
)
def test_the_command_line_imports_no_framework_and_no_extra(arguments: str) -> None:
    code = (
        "import contextlib, io\nfrom lanner.commands import main\n"
        "with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):\n"
        f"    main({arguments})"
    )
    modules = modules_after(code)
    assert not modules & (HEAVY | CLIENTS)
    # A package of an extra would be missing after 'pip install lanner'.
    required = modules_after("import numpy, tokenizers, tqdm") | set(sys.stdlib_module_names)
    distributions = {"lanner", "lanner_export", "lanner_native", "lanner_perf"}
    assert not modules - required - distributions


def test_nothing_is_written_outside_and_nothing_sent(word_artifact: Path, tmp_path: Path) -> None:
    # ONNX Runtime's telemetry, on by default, would leave a device id in the home directory.
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    code = "import sys, lanner; lanner.load(sys.argv[1]).encode(['a', 'b'])"
    environment = {"HOME": str(home), "TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", code, str(word_artifact)]
    subprocess.run(command, env=environment, check=True)
    assert list(home.rglob("*")) == []
    assert list(temporary.rglob("*")) == []
