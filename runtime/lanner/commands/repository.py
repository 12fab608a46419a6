"""`lanner repository`: make or check a Triton model repository."""

import argparse
from dataclasses import fields
from pathlib import Path
from typing import Any

from lanner.artifact.buckets import parse_buckets
from lanner.commands.console import print_json, say, show
from lanner.commands.options import Subparsers, add_command, argument, need, positive
from lanner.engines import DEVICES, engine_names
from lanner.errors import RepositoryError
from lanner.triton.repository.serving import (
    BACKENDS,
    MAX_BATCH_SIZE,
    Serving,
    require_backend,
    require_engine,
)

_EXAMPLES = """\
  lanner repository minilm.lanner --output repository
  lanner repository minilm.lanner reranker.lanner --output repository --response-cache
  lanner repository newer.lanner --output repository --name minilm     add a new version
  lanner repository minilm.lanner --output repository --backend onnxruntime --cores 4
  lanner repository minilm.lanner --output repository --variant int8 --engine native
  lanner repository minilm.lanner --output repository --backend tensorrt
  lanner repository minilm.lanner --output repository --backend onnxruntime --device cuda
  lanner repository --check repository
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "repository",
        summary="make a Triton model repository from artifacts, or check one",
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
        help="check any repository, even one that Lanner did not make; exit status 1 on an error",
    )
    _add_model_options(parser)
    _add_serving_options(parser)
    parser.set_defaults(run=run)


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--name",
        action="append",
        help="the name of a model, one for each DIR (default: the artifact's own)",
    )
    parser.add_argument(
        "--variant", default="auto", help="the variant to serve (default: the fastest safe one)"
    )
    parser.add_argument(
        "--no-text",
        action="store_true",
        help="omit NAME_text, the model that tokenizes on the server",
    )


def _add_serving_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument_group("serving options").add_argument
    add(
        "--backend",
        metavar="{" + ",".join(BACKENDS) + "}",
        type=argument(require_backend),
        default="python",
        help="python runs in any Triton whose Python has lanner[onnxruntime], and batches unequal "
        "lengths by itself; the others pad requests to buckets (default: python)",
    )
    add(
        "--device",
        choices=DEVICES,
        default="cpu",
        help="cuda: an NVIDIA GPU, for the backends python and onnxruntime (default: cpu)",
    )
    add(
        "--engine",
        metavar="{" + ",".join(["auto", *engine_names()]) + "}",
        type=argument(require_engine),
        default="auto",
        help="the engine of the backend python; a server without it does not load the model "
        "(default: auto, the fastest that the server has)",
    )
    add(
        "--engine-cache",
        metavar="DIR",
        type=lambda text: str(Path(text).absolute()),
        help="run onnxruntime on cuda through TensorRT; the server keeps built engines here",
    )
    add(
        "--cores",
        type=positive,
        help="CPU cores for a model (default: all of the server's; for onnxruntime all of this "
        "machine, because it cannot tell how many the server may use)",
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
        help="sizes at which a batch waits no longer",
    )
    add(
        "--max-queue-delay-us",
        metavar="N",
        type=int,
        default=0,
        help="time that the first request of a batch waits for others (default: 0)",
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
        help="time after which a waiting request is refused (default: no limit)",
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
        help="lengths in tokens that requests are padded to (default: by the backend)",
    )
    add(
        "--response-cache",
        action="store_true",
        help="cache answers, if the server has a cache; Triton 2.51 caches failures, too",
    )
    add(
        "--share-engine",
        dest="shares_engine",
        action="store_true",
        help="let NAME_text call NAME instead of loading its weights: less memory, but slower",
    )
    add("--no-warmup", action="store_true", help="omit the warm-up runs before a model is ready")


def run(args: argparse.Namespace) -> None:
    if args.check is not None:
        need(
            not args.artifacts and args.output is None,
            "--check checks an existing repository: use neither DIR nor --output",
        )
        _check(args)
        return
    need(args.artifacts, "name the artifacts to serve, or use --check REPO")
    need(args.output is not None, "name the repository to write into: --output REPO")
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
        for note in model.notes:
            say(f"note: {note}")
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
        show("\n\n".join(map(str, findings)))
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
