"""Options of the commands: the parser, types of arguments, checks."""

import argparse
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from lanner.errors import InputError, UsageError

T = TypeVar("T")
Subparsers = Any  # argparse does not name the type of add_subparsers()


class Parser(argparse.ArgumentParser):
    """A parser that allows options between texts, such as ``DIR --json TEXT``.

    Attributes:
        rest: The attribute for arguments after ``--``, if those are for another program.
        takes_anything: True if every argument except ``--help`` is accepted and ignored.
    """

    rest: str | None = None
    takes_anything = False
    _is_within = False

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse like argparse, whose intermixed form calls this method for its two passes."""
        if self._is_within:
            return super().parse_known_args(args, namespace)
        if self.takes_anything:
            return super().parse_known_args(args, namespace)[0], []
        if self.rest is not None:
            end = args.index("--") if "--" in args else len(args)
            self.set_defaults(**{self.rest: args[end + 1 :]})
            args = args[:end]
        self._is_within = True
        try:
            return self.parse_known_intermixed_args(args, namespace)
        finally:
            self._is_within = False


def add_command(
    subparsers: Subparsers,
    name: str,
    *,
    summary: str,
    examples: str,
) -> Parser:
    """Add a parser with the options that every command has: ``--json`` and ``--debug``."""
    parser: Parser = subparsers.add_parser(
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


def option_of(name: str) -> str:
    """Return the name of a Python argument on the command line."""
    return f"--{name.replace('_', '-')}"


def positive(text: str) -> int:
    """Parse an argument that must be an integer of at least 1."""
    value = int(text) if text.isdecimal() else 0
    if value < 1:
        msg = f"must be an integer of at least 1, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def argument(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Wrap a function that raises `InputError` or `UsageError`: argparse shows its message."""

    def parsed(text: str) -> T:
        try:
            return parse(text)
        except (InputError, UsageError) as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parsed


def some_of(choices: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    """Return a parser of comma-separated lists of these names; repeated names count once."""

    def names_of(text: str) -> tuple[str, ...]:
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not names or not set(names) <= set(choices):
            msg = f"{text!r}: use a comma-separated list of {', '.join(choices)}"
            raise argparse.ArgumentTypeError(msg)
        return names

    return names_of


def need(condition: object, message: str) -> None:
    """Check the usage of a command.

    Raises:
        UsageError: The condition does not hold.
    """
    if not condition:
        raise UsageError(message)


def add_on_long_option(parser: argparse.ArgumentParser) -> None:
    """Add ``--on-long``, of the commands that answer a text or pair as a whole."""
    parser.add_argument(
        "--on-long",
        choices=("truncate", "warn", "error"),
        default="truncate",
        help="an input longer than the model's limit: cut it, cut it and say how many were, or "
        "refuse it (default: truncate)",
    )


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a job on several processes or machines."""
    parser.add_argument(
        "--on",
        metavar="ENGINE[=ADDRESS]",
        help="encode files on several processes (local) or machines (ray, spark) into --output, a "
        "folder of .parquet files; --input is a file, a folder or a pattern, here or in storage",
    )
    parser.add_argument(
        "--workers",
        metavar="N",
        type=positive,
        help="processes of --on local, which share the cores (default: 1)",
    )
    parser.add_argument(
        "--status", metavar="FOLDER", help="show what an --output of --on holds, and nothing else"
    )
