"""The sources of a command: its model and its texts."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanner.artifact.bounded import TooLargeError, read_bounded
from lanner.commands.options import argument, need, option_of, positive
from lanner.engines import engine_names
from lanner.errors import InputError
from lanner.files.staging import require_other_file, require_output_file
from lanner.files.texts import read_pairs, read_texts
from lanner.loading.load import load
from lanner.loading.selection import require_device
from lanner.text.tokenization import Pair
from lanner.triton.client.connection import connect

#: The headers of a command without --header.
HEADER_VARIABLE = "LANNER_HEADERS"
_HEADER_FILE_BYTES = 2**16
#: Arguments of `lanner.connect` for a server over TLS, with their help.
CERTIFICATES = {
    "root_certificates": "the CA certificates to trust (default: those of the system)",
    "certificate_chain": "your certificate, if the server asks for one",
    "private_key": "the key of your certificate (default: in the file of the certificate)",
}


def add_model_options(parser: argparse.ArgumentParser, *, is_optional: bool = False) -> None:
    """Add the options of the commands that load a model, which may be optional."""
    parser.add_argument(
        "model",
        nargs="?" if is_optional else None,
        metavar="DIR|URL",
        help="an artifact that 'lanner export' wrote, or a model on a Triton server, "
        "grpc://HOST:8001/NAME or http://HOST:8000/NAME",
    )
    add_server_options(parser)
    parser.add_argument(
        "--variant",
        default="auto",
        help="the variant to run, by its name or precision, such as int8, or auto: the choice of "
        "'lanner tune', or else the default on this machine, which 'lanner inspect' shows",
    )
    parser.add_argument(
        "--engine",
        default="auto",
        help=f"{', '.join(engine_names())}, or auto: the usually fastest of those installed",
    )
    parser.add_argument(
        "--device",
        type=argument(require_device),
        default="auto",
        help="cpu, cuda (an NVIDIA GPU), or auto: the GPU if the artifact has an engine for it or "
        "onnxruntime-gpu is installed, else the CPU",
    )
    parser.add_argument(
        "--engine-cache",
        metavar="DIR",
        help="run onnxruntime on the GPU through TensorRT, and keep built engines here",
    )
    parser.add_argument(
        "--threads", type=positive, help="cores to use (default: all that are allowed)"
    )


def add_server_options(parser: argparse.ArgumentParser) -> None:
    """Add ``--header`` and certificates, for a model on a server; see `server_access`."""
    parser.add_argument(
        "--header",
        metavar="NAME:VALUE",
        action="append",
        default=[],
        help="a header of every request to the server, such as 'authorization: Bearer KEY'; @FILE "
        "reads headers from a file, so that a list of processes does not show them (default: "
        f"those of {HEADER_VARIABLE})",
    )
    for name, what in CERTIFICATES.items():
        help_text = f"for grpcs:// and https://, a PEM file of {what}"
        parser.add_argument(option_of(name), metavar="FILE", help=help_text)


def require_no_server_options(args: argparse.Namespace) -> None:
    """Check that no option of `add_server_options` is given.

    Raises:
        UsageError: One of them is given.
    """
    for name in ("header", *CERTIFICATES):
        need(
            not getattr(args, name),
            f"{option_of(name)} is for a server, but the model is a directory",
        )


def server_access(args: argparse.Namespace) -> dict[str, Any]:
    """Return the options of `add_server_options` as arguments of `lanner.connect`.

    Raises:
        UsageError: A header is not ``NAME:VALUE``.
    """
    return {
        "headers": _headers(args.header),
        **{name: getattr(args, name) for name in CERTIFICATES},
    }


def load_model(args: argparse.Namespace) -> Any:
    """Load the model that the options of `add_model_options` describe.

    Raises:
        UsageError: The options do not fit a server.
        LannerError: See `lanner.load` and `lanner.connect`.
    """
    if not is_url(args.model):
        require_no_server_options(args)
        return load(
            args.model,
            engine=args.engine,
            variant=args.variant,
            device=args.device,
            threads=args.threads,
            engine_cache=args.engine_cache,
        )
    given = (args.engine, args.variant, args.device, args.threads, args.engine_cache)
    need(
        given == ("auto", "auto", "auto", None, None),
        "the server decides --engine, --variant, --device, --threads and --engine-cache: "
        "omit them with a URL",
    )
    url, name = split_url(args.model)
    # gRPC's core would log a failure to stderr in addition to the error.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    return connect(url, name, **server_access(args))


def split_url(model: str) -> tuple[str, str]:
    """Split a URL into the server's URL and the name of the model.

    Raises:
        UsageError: The URL has no name of a model.
    """
    url, _, name = model.rpartition("/")
    need(
        name and not url.endswith("/"),
        f"{model} names no model: add it, for example {model.rstrip('/')}/minilm",
    )
    return url, name


def _headers(given: Sequence[str]) -> dict[str, str]:
    """Read headers; a malformed one is not shown, since it may hold a secret."""
    found = [(f"--header number {n}", header) for n, header in enumerate(given, 1)]
    if not given and os.environ.get(HEADER_VARIABLE):
        lines = os.environ[HEADER_VARIABLE].splitlines()
        found = [(f"line {n} of {HEADER_VARIABLE}", line) for n, line in enumerate(lines, 1)]
    headers = {}
    for place, header in found:
        for name, line in _lines_of(header, place):
            key, colon, value = line.partition(":")
            need(colon and key.strip(), f"{name} is not NAME:VALUE")
            headers[key.strip()] = value.strip()
    return headers


def _lines_of(header: str, place: str) -> list[tuple[str, str]]:
    """Return a header with its place, or those of the file that it names."""
    if not header.startswith("@"):
        return [(place, header)]
    path = Path(header[1:])
    try:
        text = read_bounded(path, _HEADER_FILE_BYTES).decode()
    except (OSError, ValueError, TooLargeError):
        msg = f"cannot read {path} of {place}: give a file with a line NAME:VALUE for each header"
        raise InputError(msg) from None
    lines = enumerate(text.splitlines(), 1)
    return [(f"line {number} of {path}", line) for number, line in lines if line.strip()]


def is_url(model: str) -> bool:
    """Return whether it is the URL of a server's model, not a directory."""
    return "://" in model


def add_input_options(
    parser: argparse.ArgumentParser,
    *,
    outputs: Sequence[str] = (".jsonl",),
    pairs: bool = False,
    output_help: str = "",
) -> None:
    """Add the options for texts, as arguments or from a file, and for the output.

    Args:
        parser: The command's parser.
        outputs: Suffixes that --output may have.
        pairs: True if the command also takes pairs of texts.
        output_help: The help text of --output; empty for one that names the suffixes.
    """
    parser.add_argument("texts", metavar="TEXT", nargs="*", help="texts")
    parser.add_argument(
        "--input",
        metavar="FILE",
        help="a .txt, .csv, .jsonl or .parquet file of texts, or - for stdin"
        + ("; a file of pairs is no .txt" if pairs else ""),
    )
    parser.add_argument(
        "--column", default="text", help="the column or key of the texts (default: text)"
    )
    if pairs:
        parser.add_argument(
            "--pair-column", metavar="COLUMN", help="the column or key of the second text of a pair"
        )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=_output,
        help=output_help or f"a {' or '.join(outputs)} file (default: stdout)",
    )
    parser.set_defaults(output_suffixes=tuple(outputs))


def _output(text: str) -> Path | str:
    """Return a path, or a URL as it is, which a path would change."""
    return text if is_url(text) else Path(text)


def check_input_options(args: argparse.Namespace) -> None:
    """Check the options of `add_input_options`.

    Raises:
        UsageError: There are no texts, or from two sources, or the output has another suffix.
        InputError: The output cannot be written, or is the input.
    """
    need(bool(args.texts) != bool(args.input), "pass either texts or --input FILE")
    suffixes = args.output_suffixes
    need(not isinstance(args.output, str), f"{args.output} is a URL: --output is a file here")
    need(
        args.output is None or args.output.suffix in suffixes,
        f"--output must end in {' or '.join(suffixes)}, not {str(args.output)!r}",
    )
    if args.output is not None:
        require_output_file(args.output)
        if args.input:
            require_other_file(args.output, args.input)


def read_input(args: argparse.Namespace, *, as_pairs: bool = False) -> list[Any]:
    """Read the texts or pairs that the options of `add_input_options` describe.

    Raises:
        UsageError: There are no texts, or from two sources, or an odd number for pairs, or the
            output has another suffix.
        InputError: The file cannot be read, or the output cannot be written.
    """
    check_input_options(args)
    if not as_pairs:
        return args.texts or read_texts(args.input, column=args.column)
    if args.input:
        second = args.pair_column or "text_pair"
        return list(read_pairs(args.input, columns=(args.column, second)))
    count = len(args.texts)
    need(count % 2 == 0, f"texts must come in pairs, but there are {count}")
    pairs: list[Pair] = list(zip(args.texts[::2], args.texts[1::2], strict=True))
    return pairs
