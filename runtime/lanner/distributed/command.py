"""The part of `lanner encode` that encodes files on several processes or machines."""

import argparse
from typing import Any

from lanner.distributed.arrow_encoder import ArrowEncoder
from lanner.distributed.job import Executor, Job
from lanner.distributed.local import Local
from lanner.errors import UsageError
from lanner.files.rows import Columns

#: What --on takes, before "=" and an address.
ENGINES = ("local", "ray", "spark")


def job_of(args: argparse.Namespace, columns: Columns) -> Job:
    """Return the job that the options describe.

    Raises:
        UsageError: Options do not fit together.
        LannerError: See `ArrowEncoder`.
    """
    _need(
        args.input and args.output and not args.texts,
        "--on needs --input, a file, a folder or a pattern, and --output, a folder",
    )
    _need(args.input != "-", "--on reads files: pass their path or URL to --input")
    _need(
        not args.header and not args.root_certificates and not args.private_key,
        "--on gives no headers and certificates to its workers: use an address that needs none",
    )
    _need(args.engine_cache is None, "--on takes no --engine-cache: omit it")
    _need(args.on_long != "error", "--on takes --on-long truncate or chunk")
    given: dict[str, Any] = {
        "prompt_name": args.prompt_name,
        "normalize_embeddings": args.normalize or None,
        "truncate_dim": args.truncate_dim,
        "precision": None if args.precision == "float32" else args.precision,
        "on_long": None if args.on_long == "truncate" else args.on_long,
        "chunk_overlap": args.chunk_overlap,
        "task": args.task,
        "max_active_dims": args.max_active_dims,
    }
    encoder = ArrowEncoder(
        args.model,
        column=args.column,
        variant=args.variant,
        engine=args.engine,
        device=args.device,
        threads=args.threads,
        **{name: value for name, value in given.items() if value is not None},
    )
    kind = None if args.input_format is None else f".{args.input_format}"
    return Job(
        encoder,
        args.input,
        str(args.output),
        columns,
        kind=kind,
        with_text=not args.no_text,
        restart=args.restart,
    )


def executor_of(args: argparse.Namespace) -> Executor:
    """Return what encodes the fragments.

    Raises:
        UsageError: There is no such engine, or it takes no address or number of workers.
        MissingExtraError: Ray or Spark is not installed.
    """
    name, _, address = args.on.partition("=")
    _need(name in ENGINES, f"--on is one of {', '.join(ENGINES)}, not {name!r}")
    _need(
        args.workers is None or name == "local",
        "--workers is for --on local: a cluster has as many as it has cores for",
    )
    if name == "local":
        _need(not address, "--on local takes no address")
        return Local(args.workers or 1)
    if name == "ray":
        from lanner.distributed.ray import Ray  # noqa: PLC0415 (an extra)

        return Ray(address, args.threads)
    from lanner.distributed.spark import Spark  # noqa: PLC0415 (an extra)

    return Spark(address)


def _need(condition: object, message: str) -> None:
    if not condition:
        raise UsageError(message)
