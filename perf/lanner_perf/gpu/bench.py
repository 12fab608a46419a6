"""A comparison of the ways to run a model on an NVIDIA GPU: PyTorch, ONNX Runtime, TensorRT.

    python -m lanner_perf.gpu.bench --output build/gpu.json

It runs models of real shapes with random weights, on batches of 1 to 128 texts of 16 to 512 tokens.
A run goes from token ids in host memory to vectors in host memory. A subject that is not installed,
fails, or differs from PyTorch in float32 is left out, with the reason. Each new figure is written
to the JSON at once, and a page with plots at the end. --resume continues a run that was cut short;
--merge joins runs of other models or subjects.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Collection, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from lanner.commands.console import steps
from lanner.errors import BenchmarkError, LannerError, MissingExtraError
from lanner.files.staging import require_output_file
from lanner.machine import interruption
from lanner.machine.gpu import missing_gpu
from lanner_perf.gpu.content import gpu_charts, gpu_page
from lanner_perf.gpu.models import MODELS, MOST_TOKENS
from lanner_perf.gpu.record import (
    Report,
    key,
    merged,
    new_report,
    read_report,
    write_report,
)
from lanner_perf.gpu.run import Benchmark
from lanner_perf.gpu.subjects import SUBJECTS, subjects_of
from lanner_perf.gpu.worker import Job, Request
from lanner_perf.report.results import write_page
from lanner_perf.report.terminal import terminal_text

_MODELS = "MiniLM-L6,BERT-base,BERT-large"
_BATCHES, _LENGTHS, _SECONDS = "1,2,4,8,16,32,64,128", "16,32,64,128,256,512", 0.5
#: The packages that a page needs; an interpreter may lack them.
_OF_PAGES = ("jinja2", "matplotlib")
_QUICK_BATCHES, _QUICK_LENGTHS, _QUICK_SECONDS = "1,8,32,128", "16,128,512", 0.2


def main(argv: Sequence[str] | None = None) -> int:
    args = _parser().parse_args(argv)
    try:
        require_output_file(args.output)
        with interruption.handled():
            if args.merge:
                report = merged({str(path): read_report(path) for path in args.merge})
                write_report(report, args.output)
            else:
                report = _measure(args)
            files = _write_page(report, args.output)
    except KeyboardInterrupt:
        sys.stderr.write("error: interrupted\n")
        return 130
    except LannerError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    for file in files:
        sys.stderr.write(f"{file}\n")
    print(terminal_text(gpu_page(report)))
    return 0 if report["figures"] else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.gpu.bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--output", type=Path, default=Path("build/gpu.json"), metavar="FILE.json")
    add("--models", default=_MODELS, help=f"some of {', '.join(MODELS)} (default: {_MODELS})")
    names = ", ".join(dict.fromkeys(subject.name for subject in SUBJECTS))
    add("--subjects", help=f"some of {names} (default: all of the device)")
    add("--batches", help=f"numbers of texts in a batch (default: {_BATCHES})")
    add("--lengths", help=f"numbers of tokens of a text (default: {_LENGTHS})")
    add("--seconds", type=float, help=f"seconds for timing a shape (default: {_SECONDS})")
    quick = f"batches {_QUICK_BATCHES}, lengths {_QUICK_LENGTHS}, {_QUICK_SECONDS} seconds"
    add("--quick", action="store_true", help=f"other defaults: {quick}")
    add("--minutes", type=float, help="stop after this many minutes (default: never)")
    add("--resume", action="store_true", help="keep the figures in the output, measure the others")
    merge = "measure nothing, but join the outputs of other runs; later files replace figures"
    add("--merge", type=Path, nargs="+", metavar="FILE.json", help=merge)
    add("--device", choices=("cuda", "cpu"), default="cuda", help="cpu only tries the program")
    return parser


def _measure(args: argparse.Namespace) -> Report:
    began = time.monotonic()
    deadline = None if args.minutes is None else began + 60 * args.minutes
    models = _named(args.models, "model", MODELS)
    known = subjects_of(args.device)
    subjects = _named(args.subjects or ",".join(known), "subject", known)
    batches = _numbers(args.batches or (_QUICK_BATCHES if args.quick else _BATCHES))
    lengths = _numbers(args.lengths or (_QUICK_LENGTHS if args.quick else _LENGTHS), MOST_TOKENS)
    seconds = args.seconds or (_QUICK_SECONDS if args.quick else _SECONDS)
    if args.device == "cuda" and (reason := missing_gpu()):
        msg = f"the benchmark needs an NVIDIA GPU, but {reason}: run it on a machine with one"
        raise BenchmarkError(msg)
    for package in ("torch", "transformers"):
        if find_spec(package) is None:
            what = "the benchmark"
            raise MissingExtraError(what, "export", package)
    report = new_report(args.device, seconds)
    if args.resume and args.output.exists():
        report = merged({str(args.output): read_report(args.output), "this machine": report})
    done = {key(figure) for figure in report["figures"]}
    shapes = [(batch, length) for length in lengths for batch in batches]
    jobs = [
        Job(model, subject, [shape for shape in shapes if (model, subject, *shape) not in done])
        for model in models
        for subject in subjects
    ]

    def keep() -> None:
        report["parts"][-1]["whole_s"] = round(time.monotonic() - began, 1)
        write_report(merged({"": report}), args.output)

    with steps() as tell, tempfile.TemporaryDirectory(prefix="lanner-") as scratch:
        request = Request(args.device, Path(scratch), batches, lengths, seconds, jobs)
        Benchmark(report, keep=keep, tell=tell, deadline=deadline).run(request)
    keep()
    return merged({"": report})


def _write_page(report: Report, output: Path) -> list[Path]:
    """Write the figures, the page and the plots; only the figures if a package is missing."""
    if missing := [name for name in _OF_PAGES if find_spec(name) is None]:
        sys.stderr.write(
            f"no page was written, because {' and '.join(missing)} is not installed: run --merge "
            f"{output} where lanner-bench is installed\n"
        )
        return [output]
    return write_page(report, gpu_page(report), partial(gpu_charts, report), output)


def _named(text: str, what: str, known: Collection[str]) -> list[str]:
    names = list(dict.fromkeys(text.split(",")))
    if unknown := [name for name in names if name not in known]:
        msg = f"there is no {what} {unknown[0]!r}: use {', '.join(known)}"
        raise BenchmarkError(msg)
    return names


def _numbers(text: str, most: int | None = None) -> list[int]:
    numbers = [int(part) if part.isdecimal() else 0 for part in text.split(",")]
    if min(numbers) < 1:
        msg = f"{text!r} must be whole numbers of at least 1, separated by commas"
        raise BenchmarkError(msg)
    if most is not None and max(numbers) > most:
        msg = f"{text!r} exceeds the {most} tokens that the models accept"
        raise BenchmarkError(msg)
    return sorted(set(numbers))


if __name__ == "__main__":
    sys.exit(main())
