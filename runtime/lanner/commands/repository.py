"""`lanner repository`: a Triton model repository, made or looked over."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from lanner.artifact.buckets import parse_buckets
from lanner.commands.console import print_json, say
from lanner.commands.options import Subparsers, add_command, argument, need, positive
from lanner.engines import DEVICES
from lanner.errors import RepositoryError
from lanner.triton.repository.serving import BACKENDS, MAX_BATCH_SIZE, Serving

_EXAMPLES = """\
  lanner repository minilm.lanner --output repository
  lanner repository minilm.lanner reranker.lanner --output repository --response-cache
  lanner repository newer.lanner --output repository --name minilm     a new version beside the old
  lanner repository minilm.lanner --output repository --backend onnxruntime --cores 4
  lanner repository minilm.lanner --output repository --backend tensorrt
  lanner repository minilm.lanner --output repository --backend onnxruntime --device cuda
  lanner repository --check repository
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "repository",
        summary="make a Triton model repository of artifacts, or check one",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "artifacts", metavar="DIR", nargs="*", help="artifacts that 'lanner export' wrote"
    )
    parser.add_argument("--output", metavar="REPO", type=Path, help="the repository to write into")
    parser.add_argument(
        "--check",
        metavar="REPO",
        type=Path,
        help="check any repository, also one that Lanner did not make; exit status 1 on an error",
    )
    _add_model_options(parser)
    _add_serving_options(parser)
    parser.set_defaults(run=run)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        action="append",
        help="what a model is called, one for each DIR (default: its own)",
    )
    parser.add_argument(
        "--variant", default="auto", help="which variant is served (default: the fastest safe one)"
    )
    parser.add_argument(
        "--no-text",
        action="store_true",
        help="leave out NAME_text, the model that tokenises in the server",
    )


def _add_serving_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("how it is served").add_argument
    add(
        "--backend",
        choices=BACKENDS,
        default="python",
        help="python runs in any Triton whose Python has lanner[onnxruntime], and batches unequal "
        "lengths by itself; the others fill requests up to buckets (default: python)",
    )
    add(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="cuda: an NVIDIA GPU, for the backends python and onnxruntime (default: cpu)",
    )
    add(
        "--engine-cache",
        metavar="DIR",
        type=lambda text: str(Path(text).absolute()),
        help="run onnxruntime on cuda through TensorRT; the server keeps what that builds here",
    )
    add(
        "--cores",
        type=positive,
        help="CPU cores for a model (default: all of the server's; of several instances of "
        "onnxruntime one each, for it cannot know how many there are)",
    )
    add("--instances", type=positive, default=1, help="copies that share the cores (default: 1)")
    add(
        "--max-batch-size",
        metavar="N",
        type=positive,
        default=MAX_BATCH_SIZE,
        help=f"the most texts that run together (default: {MAX_BATCH_SIZE})",
    )
    add(
        "--preferred-batch-sizes",
        metavar="N[,N...]",
        type=_numbers,
        default=(),
        help="sizes at which a batch does not wait longer",
    )
    add(
        "--max-queue-delay-us",
        metavar="N",
        type=int,
        default=0,
        help="how long the first request of a batch waits for others (default: 0)",
    )
    add(
        "--max-queue-size",
        metavar="N",
        type=positive,
        help="requests that may wait; more are refused (default: any number)",
    )
    add(
        "--queue-timeout-ms",
        metavar="N",
        type=positive,
        help="how long a request may wait before it is refused (default: for ever)",
    )
    add(
        "--priority-levels",
        metavar="N",
        type=positive,
        default=0,
        help="levels of priority, 1 being served first (default: none)",
    )
    add(
        "--buckets",
        metavar="N[,N...]",
        type=argument(parse_buckets),
        help="lengths in tokens that requests are filled up to (default: by the backend)",
    )
    add(
        "--response-cache",
        action="store_true",
        help="remember answers, where the server has a cache; Triton 2.51 remembers failures, too",
    )
    add(
        "--share-engine",
        dest="shares_engine",
        action="store_true",
        help="let NAME_text call NAME instead of loading its weights, too: less memory, and slower",
    )
    add("--no-warmup", action="store_true", help="leave out the runs before a model is ready")


def run(args: argparse.Namespace) -> None:
    if args.check is not None:
        need(
            not args.artifacts and args.output is None,
            "--check looks over a repository as it is: give neither DIR nor --output",
        )
        _check(args)
        return
    need(args.artifacts, "give the artifacts to serve, or --check REPO")
    need(args.output is not None, "give the repository to write into: --output REPO")
    from lanner.triton.repository.write import write_repository  # noqa: PLC0415 (an extra)

    values: dict[str, Any] = {
        field.name: getattr(args, field.name)
        for field in fields(Serving)
        if hasattr(args, field.name)
    }
    values["warmup"] = not args.no_warmup
    written = write_repository(
        args.artifacts,
        args.output,
        serving=Serving(**values),
        variant=args.variant,
        names=args.name,
        with_text=not args.no_text,
    )
    if args.json:
        print_json(
            {"repository": str(args.output), "models": [model.to_json() for model in written]}
        )
        return
    for model in written:
        say(f"{model.name} version {model.version}, {model.variant}, in {args.output}")
    say(f"start it: lanner serve {args.output}")


def _check(args: argparse.Namespace) -> None:
    from lanner.triton.lint.linter import lint  # noqa: PLC0415 (an extra)

    findings = lint(args.check, cores=args.cores)
    if args.json:
        print_json(
            {
                "repository": str(args.check),
                "findings": [finding.to_json() for finding in findings],
            }
        )
    elif findings:
        print("\n\n".join(map(str, findings)))
    errors = sum(finding.severity == "error" for finding in findings)
    if errors:
        what = f"{_counted(errors, 'error')} among {_counted(len(findings), 'finding')}"
        msg = f"{args.check} has {what}, shown above"
        raise RepositoryError(msg)
    if not args.json:
        say(
            f"{args.check}: {_counted(len(findings), 'warning')}, no errors"
            if findings
            else "nothing found"
        )


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(positive(part.strip()) for part in text.split(","))
