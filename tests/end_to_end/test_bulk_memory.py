"""The memory of `lanner encode` does not grow with the file, in process and through a server."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from lanner.files.texts import shipped_sentences
from lanner.triton.server.installation import Installation
from lanner_perf.subjects.hosting import THROUGH, hosted

#: The most memory for the larger file, relative to the smaller.
_MOST_GROWTH = 1.2
_PROGRAM = """\
import json, sys
from lanner.commands import main
from lanner_perf.subjects.resident import peak_resident_mb
status = main()
print(json.dumps(peak_resident_mb()))
sys.exit(status)
"""


def peak_mb(model: str, rows: int, work: Path) -> float:
    """Return the peak memory of a program that encodes this many different texts."""
    source, output = work / f"{rows}.txt", work / f"{rows}.npy"
    sentences = shipped_sentences()
    with source.open("w", encoding="utf-8") as file:
        for row in range(rows):
            file.write(f"{sentences[row % len(sentences)]} {row // len(sentences)}\n")
    command = [sys.executable, "-c", _PROGRAM, "encode", model]
    files = ["--input", str(source), "--output", str(output)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(np.load(output, mmap_mode="r")) == rows
    return float(json.loads(done.stdout))


@pytest.mark.no_transformers
@pytest.mark.slow
@pytest.mark.parametrize("through", THROUGH)
def test_memory_does_not_grow_with_the_file(
    word_artifact: Path, tmp_path: Path, tritonserver: Installation, through: str
) -> None:
    with hosted(str(word_artifact), through) as model:
        peaks_mb = [peak_mb(model, rows, tmp_path) for rows in (20_000, 100_000)]
    # At least Python and numpy must be in it.
    assert peaks_mb[0] > 20
    assert peaks_mb[1] / peaks_mb[0] <= _MOST_GROWTH
