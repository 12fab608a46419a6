"""Peak memory of `lanner encode` on files of several sizes, which should not depend on the size.

    python -m lanner_perf.bulk_memory build/minilm.lanner --through grpc --rows 20000,100000

Each file is encoded by a program of its own, with the model in it or on a Triton server that is
started for this; what is counted is the program's own memory. Fails where the largest file takes
more than the bound of the smallest.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from lanner.commands.console import say
from lanner.commands.options import positive
from lanner.errors import LannerError
from lanner.files.texts import shipped_sentences
from lanner_perf.served import THROUGH, served

#: The most that the largest file may take, of what the smallest takes.
MOST_GROWTH = 1.2
_PROGRAM = """\
import json, sys, time
from lanner.commands import main
from lanner_perf.resident import peak_resident_mb
begin = time.monotonic()
status = main()
print(json.dumps({"seconds": time.monotonic() - begin, "peak_mb": peak_resident_mb()}))
sys.exit(status)
"""


@dataclass(frozen=True)
class Run:
    """One file.

    Attributes:
        rows: How many texts it had.
        seconds: How long the command took, its imports aside.
        peak_mb: The most resident memory of the program that ran it.
        vectors_mb: The size of what it wrote.
    """

    rows: int
    seconds: float
    peak_mb: float
    vectors_mb: float


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.bulk_memory", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("artifact", metavar="DIR", help="an artifact of the head embed")
    parser.add_argument("--through", choices=THROUGH, default="grpc", help="(default: grpc)")
    parser.add_argument("--rows", type=_counts, default=(20_000, 100_000), metavar="N,N[,N...]")
    args = parser.parse_args(argv)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="lanner-") as work,
            served(args.artifact, args.through) as model,
        ):
            runs = [encode_file(model, rows, Path(work)) for rows in args.rows]
    except LannerError as error:
        sys.stderr.write(f"lanner_perf.bulk_memory: error: {error}\n")
        return 1
    print(json.dumps({"through": args.through, "runs": [asdict(run) for run in runs]}))
    growth = max(run.peak_mb for run in runs) / runs[0].peak_mb
    holds = growth <= MOST_GROWTH
    say(f"{growth:.3f}x, at most {MOST_GROWTH}x {'holds' if holds else 'does not hold'}")
    return 0 if holds else 1


def encode_file(model: str, rows: int, work: Path) -> Run:
    """Runs ``lanner encode`` on short sentences, each another one.

    Args:
        model: A directory or a URL.
        rows: How many.
        work: Where the files go.

    Raises:
        LannerError: The command failed.
    """
    source, output = work / f"{rows}.txt", work / f"{rows}.npy"
    sentences = shipped_sentences()
    with source.open("w", encoding="utf-8") as file:
        for row in range(rows):
            file.write(f"{sentences[row % len(sentences)]} {row // len(sentences)}\n")
    command = [sys.executable, "-c", _PROGRAM, "encode", model]
    files = ["--input", str(source), "--output", str(output)]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    if done.returncode:
        msg = f"lanner encode failed ({done.returncode}): {done.stderr.strip()}"
        raise LannerError(msg)
    vectors = np.load(output, mmap_mode="r")
    if len(vectors) != rows:
        msg = f"lanner encode wrote {len(vectors):,} vectors of {rows:,} texts"
        raise LannerError(msg)
    run = Run(rows, vectors_mb=vectors.nbytes / 1e6, **json.loads(done.stdout))
    say(
        f"{rows:,} texts: at most {run.peak_mb:.0f} MB in {run.seconds:.0f} s, for "
        f"{run.vectors_mb:.0f} MB of vectors"
    )
    output.unlink()
    return run


def _counts(text: str) -> tuple[int, ...]:
    counts = tuple(map(positive, text.split(",")))
    if len(counts) < 2:
        msg = f"must be two numbers of rows or more, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return counts


if __name__ == "__main__":
    sys.exit(main())
