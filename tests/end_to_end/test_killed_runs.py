"""Killed runs of `lanner encode` that are continued end with the bytes of an unbroken run."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from lanner.artifact.manifest import file_sha256
from lanner.files.partial import directory_of
from lanner.files.texts import shipped_sentences
from lanner.files.vector_formats import FORMATS

#: More chunks than by default, so that a kill within a second finds finished ones.
_PROGRAM = """\
import sys, lanner.files.bulk
from lanner.commands import main
lanner.files.bulk.CHUNK_ROWS = 50
sys.exit(main())
"""
_ROWS, _BAD_ROW_EVERY, _KILLS = 6_000, 1_000, 5


def write_rows(path: Path) -> Path:
    """Write different shipped sentences, with an id, a column of mixed types and bad rows."""
    sentences = shipped_sentences()
    with path.open("w", encoding="utf-8") as file:
        for row in range(_ROWS):
            text = f"{sentences[row % len(sentences)]} {row // len(sentences)}"
            extra = row if row % 3 else {"is": text[:5]}
            line = json.dumps({"id": f"row-{row}", "extra": extra, "text": text})
            file.write(line[: -1 if row % _BAD_ROW_EVERY == 7 else None] + "\n")
    return path


def started(model: Path, source: Path, output: Path) -> "subprocess.Popen[str]":
    options = ["--variant", "fp32", "--threads", "2", "--on-bad-row", "skip"]
    if output.suffix != ".npy":
        options += ["--id-column", "id", "--keep", "extra"]
    files = ["--input", str(source), "--output", str(output)]
    command = [sys.executable, "-c", _PROGRAM, "encode", str(model), *files, *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True)


def require_done(process: "subprocess.Popen[str]") -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors


@pytest.mark.no_transformers
@pytest.mark.slow
@pytest.mark.parametrize("suffix", [suffix for suffix, kind in FORMATS.items() if kind.holds_dense])
def test_killed_runs_go_on_to_the_same_bytes(
    word_artifact: Path, tmp_path: Path, suffix: str
) -> None:
    if suffix == ".parquet":
        pytest.importorskip("pyarrow", reason="needs the parquet extra")
    source = write_rows(tmp_path / "rows.jsonl")
    whole, output = tmp_path / f"whole{suffix}", tmp_path / f"output{suffix}"
    begin = time.monotonic()
    with started(word_artifact, source, whole) as process:
        require_done(process)
    unbroken_s = time.monotonic() - begin
    moments = np.random.default_rng(0)
    state = directory_of(output) / "state.json"
    kills = resumed = outputs = 0
    # If the output is complete before all kills are done, it is compared, and the run starts again.
    while kills < _KILLS or directory_of(output).exists() or not outputs:
        resumed += state.exists()
        with started(word_artifact, source, output) as process:
            # The first kill comes when a chunk is done, however fast the machine is by now.
            while not kills and process.poll() is None and not state.exists():
                time.sleep(0.001)
            after_s = 0 if not kills else moments.uniform(0, unbroken_s)
            try:
                process.wait(after_s if kills < _KILLS else None)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                kills += 1
            else:
                require_done(process)
        # A kill may come when only the end of the process is left.
        if output.exists() and not directory_of(output).exists():
            outputs += 1
            assert file_sha256(output) == file_sha256(whole)
            output.unlink()
    assert resumed > 0
