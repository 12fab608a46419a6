"""The output on a terminal, and the headers that must not appear there."""

import io
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lanner.commands import console
from lanner.commands.console import print_json, printable, say, show
from lanner.commands.source import _headers
from lanner.errors import EngineError, InputError, UsageError

PROGRAM = Path(sys.executable).with_name("lanner")


def test_nothing_steers_a_terminal() -> None:
    assert printable("a\x1b[2J\x9b1m\x07\r\x7fb\u202ec") == (r"a\x1b[2J\x9b1m\x07\x0d\x7fb\x202ec")
    kept = "Größe 北京 👩\u200d🚀 a\tb\n\u00a0é"
    assert printable(kept) == kept


def test_all_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    say("a\x1bb")
    show("c\x1bd")
    print_json({"e\x1b": "f\x9b\u202eé"})
    out, err = capsys.readouterr()
    assert err == "a\\x1bb\n"
    assert out.splitlines()[0] == r"c\x1bd"
    assert out.splitlines()[1] == r'{"e\u001b": "f\u009b\u202eé"}'
    assert json.loads(out.splitlines()[1]) == {"e\x1b": "f\x9b\u202eé"}
    with pytest.raises(EngineError, match=r"^an answer holds NaN or an infinity, which"):
        print_json({"a": [float("nan")]})


def test_a_long_step_is_said_to_go_on(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "_SILENT_S", 0.3)
    with console.steps() as begin:
        time.sleep(0.5)  # nothing has begun
        begin("tracing the graph")
        time.sleep(1.5)
        begin("parity")
    first, *others, last = capsys.readouterr().err.splitlines()
    assert (first, last) == ("tracing the graph", "parity")
    assert 1 <= len(others) <= 5
    assert all(re.fullmatch(r"tracing the graph: [012] s so far", line) for line in others)
    assert not [thread for thread in threading.enumerate() if thread.name == "lanner-steps"]


def test_the_clock_of_a_step_goes_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(written, "isatty", lambda: True, raising=False)
    monkeypatch.setattr(sys, "stderr", written)
    monkeypatch.setattr(console, "_CLOCK_S", 0.2)
    with console.steps() as begin:
        begin("tracing the graph")
        time.sleep(2.5)
    assert "tracing the graph [00:02]" in written.getvalue()


def test_steps_are_shown_where_no_thread_can_be_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        msg = "can't start new thread"
        raise RuntimeError(msg)

    monkeypatch.setattr(threading.Thread, "start", full)
    with console.steps() as begin:
        begin("tracing the graph")
    assert capsys.readouterr().err == "tracing the graph\n"


def test_an_error_shows_no_escapes() -> None:
    command = [str(PROGRAM), "inspect", "no\x1b[31mthing"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.startswith(r"lanner: error: no\x1b[31mthing is not a directory")


def test_a_closed_standard_output_is_one_line(tmp_path: Path) -> None:
    code = f"exec {PROGRAM} inspect {tmp_path} >&-"
    done = subprocess.run(["sh", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == (
        "lanner: error: standard output is closed: open it, for example with > /dev/null\n"
    )


def test_an_encoding_without_the_characters(word_artifact: Path) -> None:
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    command = [str(PROGRAM), "encode", str(word_artifact), "é"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("lanner: error: standard output is ascii, which has not all char")


def test_headers_from_files_and_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "headers").write_text("a: b:c\n\nd:\n")
    assert _headers([f"@{tmp_path}/headers", "e: f"]) == {"a": "b:c", "d": "", "e": "f"}
    monkeypatch.setenv("LANNER_HEADERS", "g: h\ni: j")
    assert _headers([]) == {"g": "h", "i": "j"}
    assert _headers(["k: l"]) == {"k": "l"}


def test_what_is_no_header_is_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "headers").write_text("a: b\ns3cret\n")
    with pytest.raises(UsageError, match=rf"^line 2 of {tmp_path}/headers is not NAME:VALUE$"):
        _headers([f"@{tmp_path}/headers"])
    with pytest.raises(UsageError, match=r"^--header number 2 is not NAME:VALUE$"):
        _headers(["a: b", "s3cret"])
    monkeypatch.setenv("LANNER_HEADERS", "s3cret")
    with pytest.raises(UsageError, match=r"^line 1 of LANNER_HEADERS is not NAME:VALUE$"):
        _headers([])
    message = rf"^cannot read {tmp_path}/none of --header number 1: give a file with a"
    with pytest.raises(InputError, match=message):
        _headers([f"@{tmp_path}/none"])
