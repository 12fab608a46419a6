"""The command line: `lanner COMMAND ...`.

Every command is a module with one function, ``add_parser(subparsers)``, which sets ``run`` on its
parser: a function of the parsed arguments. Commands of the export stage are found by the entry
point group ``lanner.commands``, so that the runtime never imports that stage.

Exit status: 0 for success, 1 for a failed job, 2 for wrong usage. An error is one line on stderr.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

from lanner._version import __version__
from lanner.commands import (
    classify,
    doctor,
    encode,
    inspect,
    keys,
    repository,
    score,
    serve,
    similarity,
    tag,
    tune,
    words,
)
from lanner.commands.console import say, show
from lanner.commands.options import Parser, Subparsers, add_command
from lanner.errors import LannerError, MissingExtraError, UnsupportedError, UsageError
from lanner.machine import interruption

ENTRY_POINT_GROUP = "lanner.commands"
#: Distributions that may not be installed: by their entry point the name, and their commands with
#: summaries.
_ELSEWHERE = {
    "bench": (
        "lanner-bench",
        {
            "bench": "compare an artifact with other libraries, or measure a model on a Triton "
            "server",
            "plan": "plan the cores and pods for a load, from the result of 'lanner bench'",
        },
    ),
}

_EXAMPLES = """\
examples:
  lanner export CHECKPOINT --output minilm.lanner     make an artifact of a checkpoint
  lanner inspect minilm.lanner                        show its content and verify its files
  lanner similarity minilm.lanner "a cat" "a kitten"  compare two texts
  lanner tune minilm.lanner --goal throughput         find the fastest settings for this machine
  lanner build-engine minilm.lanner                   TensorRT engines for this machine's GPU
  lanner repository minilm.lanner --output repository make a Triton model repository
  lanner serve repository                             serve it with Triton
  lanner keys add search-app                          make an API key of the service
  lanner doctor                                       show what this machine can run
"""


def parser() -> argparse.ArgumentParser:
    """Return the parser with all installed commands."""
    root = argparse.ArgumentParser(
        prog="lanner",
        description="A fine-tuned BERT or Sentence-BERT checkpoint as a low-latency service.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action="version", version=f"lanner {__version__}")
    root.add_argument(
        "--print-completion",
        choices=("bash", "zsh", "tcsh"),
        action=_PrintCompletion,
        help="print a script that completes commands and options in a shell, and exit (needs: pip "
        "install 'lanner[completion]')",
    )
    subparsers = root.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=Parser
    )
    installed = sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda entry: entry.name)
    for entry_name in _ELSEWHERE.keys() - {entry.name for entry in installed}:
        distribution, summaries = _ELSEWHERE[entry_name]
        for name, summary in summaries.items():
            _add_absent(subparsers, name, distribution, summary)
    for module in [entry.load() for entry in installed] + [
        inspect,
        encode,
        similarity,
        score,
        classify,
        tag,
        words,
        tune,
        repository,
        serve,
        keys,
        doctor,
    ]:
        module.add_parser(subparsers)
    return root


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, _: object, shell: Any, *__: object) -> None:
        try:
            import shtab  # noqa: PLC0415 (an extra)
        except ImportError:
            parser.error(str(MissingExtraError("--print-completion", "completion", "shtab")))
        show(shtab.complete(parser, shell))
        parser.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status."""
    args = parser().parse_args(argv)
    with interruption.handled():
        try:
            _require_stdout()
            args.run(args)
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader of stdout is gone (`| head`); Python would report it again at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            return _fail(args, "interrupted", 128 + signal.SIGINT)
        except LannerError as error:
            return _fail(args, str(error), 2 if isinstance(error, UsageError) else 1)
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            return _fail(args, f"{error.strerror or error}{place}", 1)
        except Exception as error:  # noqa: BLE001 (unexpected errors are one line, too)
            return _fail(args, _unforeseen(error), 1)
    return 0


def _require_stdout() -> None:
    # Python has none where the descriptor is closed.
    if sys.stdout is None:
        msg = "standard output is closed: open it, for example with > /dev/null"
        raise LannerError(msg)


def _unforeseen(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return (
            f"standard output is {error.encoding}, which has not all characters of the answer: set "
            "PYTHONIOENCODING=utf-8"
        )
    what = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return f"{what} (unexpected: --debug shows where, please report it)"


def _add_absent(subparsers: Subparsers, name: str, distribution: str, summary: str) -> None:
    """Add a command that takes any arguments and names the distribution to install."""
    parser = add_command(
        subparsers,
        name,
        summary=f"{summary} (needs: pip install {distribution})",
        examples=f"  pip install {distribution}\n  lanner {name} --help\n",
    )
    parser.takes_anything = True

    def refuse(_: argparse.Namespace) -> None:
        msg = f"lanner {name} is not installed: pip install {distribution}"
        raise UnsupportedError(msg)

    parser.set_defaults(run=refuse)


def _fail(args: argparse.Namespace, message: str, status: int) -> int:
    if args.debug:
        raise  # noqa: PLE0704 (only called while an exception is handled)
    say(f"lanner: error: {message}")
    return status
