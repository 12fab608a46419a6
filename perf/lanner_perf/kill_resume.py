"""Kills `lanner encode` at random moments, resumes it, and compares bytes with an unbroken run.

python -m lanner_perf.kill_resume minilm.lanner --variant int8 --kills 20
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lanner.artifact.manifest import file_sha256
from lanner.commands.console import say
from lanner.commands.options import positive
from lanner.errors import LannerError
from lanner.files.bulk import CHUNK_ROWS
from lanner.files.partial import directory_of
from lanner.files.texts import shipped_sentences
from lanner.files.vectors import VECTOR_SUFFIXES

_PROGRAM = "import sys; from lanner.commands import main; sys.exit(main())"
#: One bad row in so many.
_BAD_ROW_EVERY = 1_000


@dataclass
class Trial:
    """What happened to one kind of output.

    Attributes:
        suffix: Of the output.
        unbroken_s: How long the run took that nobody killed.
        kills: How many runs were killed.
        kills_with_rows: How many of them left finished chunks.
        resumed: How many runs went on behind such chunks.
        outputs: How many outputs became whole.
        identical: How many of them were those of the unbroken run, byte for byte.
    """

    suffix: str
    unbroken_s: float = 0.0
    kills: int = 0
    kills_with_rows: int = 0
    resumed: int = 0
    outputs: int = 0
    identical: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.kill_resume", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("model", metavar="DIR", help="an artifact of the head embed")
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--threads", type=positive)
    parser.add_argument("--rows", type=positive, default=30_000)
    parser.add_argument("--kills", type=positive, default=20, help="of each kind of output")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    options = ["--variant", args.variant]
    options += ["--threads", str(args.threads)] if args.threads else []
    try:
        with tempfile.TemporaryDirectory(prefix="lanner-") as directory:
            source = write_rows(Path(directory) / "rows.jsonl", args.rows)
            generator = np.random.default_rng(args.seed)
            trials = [
                run_trial([args.model, *options], source, suffix, args.kills, generator)
                for suffix in VECTOR_SUFFIXES
            ]
    except LannerError as error:
        sys.stderr.write(f"lanner_perf.kill_resume: error: {error}\n")
        return 1
    print(json.dumps({"rows": args.rows, "chunk_rows": CHUNK_ROWS, "seed": args.seed}))
    for trial in trials:
        print(json.dumps(asdict(trial)))
    return 0 if all(trial.identical == trial.outputs for trial in trials) else 1


def write_rows(path: Path, count: int) -> Path:
    """Shipped sentences, each row another one, with an id, a column of mixed types and bad rows."""
    sentences = shipped_sentences()
    with path.open("w", encoding="utf-8") as file:
        for row in range(count):
            text = f"{sentences[row % len(sentences)]} {row // len(sentences)}"
            extra = row if row % 3 else {"is": text[:5]}
            record = {"id": f"row-{row}", "extra": extra, "text": text}
            line = json.dumps(record, ensure_ascii=False)
            file.write(line[: -1 if row % _BAD_ROW_EVERY == 7 else None] + "\n")
    return path


def run_trial(
    arguments: list[str],
    source: Path,
    suffix: str,
    kills: int,
    generator: np.random.Generator,
    program: str = _PROGRAM,
) -> Trial:
    """Kills runs at moments evenly spread over the time of an unbroken one, and resumes.

    Where an output becomes whole before all kills are done, it is compared and begun anew.

    Args:
        arguments: Of `lanner encode`, but its input and output.
        source: The input.
        suffix: Of the output.
        kills: How many.
        generator: Draws the moments.
        program: What ``python -c`` runs.
    """
    trial = Trial(suffix)
    whole, output = (source.with_name(f"{name}{suffix}") for name in ("whole", "output"))
    started = time.monotonic()
    with _started(program, arguments, source, whole) as process:
        _require_done(process)
    trial.unbroken_s = time.monotonic() - started
    expected = file_sha256(whole)
    while trial.kills < kills or directory_of(output).exists() or not trial.outputs:
        trial.resumed += _has_rows(output)
        with _started(program, arguments, source, output) as process:
            try:
                delay_s = generator.uniform(0, trial.unbroken_s)
                process.wait(delay_s if trial.kills < kills else None)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                trial.kills += 1
                trial.kills_with_rows += _has_rows(output)
            else:
                _require_done(process)
        # A kill may come when all is done but the end of the process.
        if output.exists() and not directory_of(output).exists():
            trial.outputs += 1
            trial.identical += file_sha256(output) == expected
            output.unlink()
    say(f"{suffix}: {trial.kills} kills, {trial.identical} of {trial.outputs} outputs identical")
    shutil.rmtree(directory_of(output), ignore_errors=True)
    whole.unlink()
    return trial


def _has_rows(output: Path) -> bool:
    return (directory_of(output) / "state.json").exists()


def _started(
    program: str, arguments: list[str], source: Path, output: Path
) -> "subprocess.Popen[str]":
    options = ["--id-column", "id", "--keep", "extra"] if output.suffix != ".npy" else []
    files = ["--input", str(source), "--output", str(output), "--on-bad-row", "skip"]
    return subprocess.Popen(
        [sys.executable, "-c", program, "encode", *arguments, *files, *options],
        stderr=subprocess.PIPE,
        text=True,
    )


def _require_done(process: "subprocess.Popen[str]") -> None:
    _, errors = process.communicate()
    if process.returncode:
        msg = f"lanner encode failed ({process.returncode}): {errors.strip()}"
        raise LannerError(msg)


if __name__ == "__main__":
    sys.exit(main())
