"""What the commands share: options, and how they speak."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from tqdm import tqdm

from lanner.errors import UnsupportedError, UsageError
from lanner.model import EmbeddingModel, load

Subparsers = Any  # argparse does not name the type of add_subparsers()


def add_command(
    subparsers: Subparsers,
    name: str,
    *,
    summary: str,
    examples: str,
) -> argparse.ArgumentParser:
    """A parser with the options that every command has: ``--json`` and ``--debug``."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--json", action="store_true", help="print one JSON object to stdout, and nothing else"
    )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """The options of the commands that load a model."""
    parser.add_argument("model", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument(
        "--variant", default="auto", help="fp32, int8, or auto: the fastest that is safe here"
    )
    parser.add_argument("--engine", default="auto", help="onnxruntime, or auto")
    parser.add_argument(
        "--threads", type=positive, help="cores to use (default: all that are allowed)"
    )


def load_model(args: argparse.Namespace) -> EmbeddingModel:
    """Loads the model that the options of `add_model_options` describe."""
    if "://" in args.model:
        msg = f"{args.model}: this Lanner cannot talk to a server yet, give an artifact directory"
        raise UnsupportedError(msg)
    return load(args.model, engine=args.engine, variant=args.variant, threads=args.threads)


def positive(text: str) -> int:
    """An argument that must be a whole number from 1 on."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        msg = f"must be a whole number from 1 on, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def print_json(value: object) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")


def say(text: str = "") -> None:
    """A line for people, on stderr."""
    sys.stderr.write(text + "\n")


@contextmanager
def steps() -> Iterator[Callable[[str], object]]:
    """Gives a function that is told which step begins, and shows it on stderr.

    On a terminal one live line with the time gone by; in a log a line a step.
    """
    if not sys.stderr.isatty():
        yield say
        return
    with tqdm(bar_format="{desc} [{elapsed}]", leave=False) as line:
        yield line.set_description_str


def table(rows: Sequence[Sequence[object]], *, indent: str = "") -> str:
    """Rows in aligned columns, the first row being their names; numbers stand to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    right = [
        all(isinstance(row[i], int | float) or str(row[i])[:1] in "-0123456789" for row in rows[1:])
        for i in range(len(widths))
    ]
    lines = [
        "  ".join(
            cell.rjust(width) if to_right else cell.ljust(width)
            for cell, width, to_right in zip(row, widths, right, strict=True)
        )
        for row in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(indent + line.rstrip() for line in lines)


def size(count: int) -> str:
    """A number of bytes as people read it."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count / 1e3:.1f} kB"


def need(condition: object, message: str) -> None:
    """Refuses a call that has no meaning.

    Raises:
        UsageError: The condition does not hold.
    """
    if not condition:
        raise UsageError(message)
