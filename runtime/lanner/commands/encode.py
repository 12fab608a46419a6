"""`lanner encode`: turn texts into vectors, to stdout or a file of any size."""

import argparse
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from lanner._version import __version__
from lanner.commands.console import Progress, print_json, say
from lanner.commands.options import (
    Subparsers,
    add_command,
    add_job_options,
    need,
    option_of,
    positive,
)
from lanner.commands.source import (
    CERTIFICATES,
    add_input_options,
    add_model_options,
    check_input_options,
    is_url,
    load_model,
)
from lanner.engines import find_engine
from lanner.files.bulk import BAD_ROWS_SHOWN, Bulk, chunks
from lanner.files.encoders import (
    CountCut,
    Encode,
    JsonOf,
    columns_of,
    encoder,
    json_form,
    with_cut_counter,
)
from lanner.files.partial import Written
from lanner.files.row_files import TEXT_SUFFIXES, open_rows
from lanner.files.rows import Columns, GivenRows, Rows
from lanner.files.vector_file import Layout, json_line
from lanner.files.vector_formats import FORMATS
from lanner.machine.machine import available_cores, package_versions, this_machine
from lanner.models.prompts import PROMPTS_OF_TASK
from lanner.vectors.origin import Origin
from lanner.vectors.precision import PRECISIONS

#: Options in which a resumed run may differ from the earlier one, with the reasons.
MAY_DIFFER = frozenset(
    {
        # The identity holds the results of these: the artifact, the variant, the engine, the cores,
        # the dimension, the columns and the format.
        *("model", "variant", "engine", "threads", "truncate_dim", "keep", "input_format"),
        # The rows themselves are compared, and the partial file is next to its output.
        *("input", "texts", "output", "output_suffixes"),
        # The caller does not change the answer, and secrets must not be stored.
        *("header", *CERTIFICATES),
        # Vectors do not depend on the display, or on the handling of bad rows.
        *("run", "json", "debug", "restart", "on_bad_row"),
        # A run on several processes keeps a record of its own.
        *("on", "workers", "status"),
    }
)

_EXAMPLES = """\
  lanner encode minilm.lanner "A plane is taking off."
  lanner encode minilm.lanner --input sentences.txt --output vectors.npy
  lanner encode minilm.lanner --input rows.csv --column body --output vectors.jsonl
  lanner encode minilm.lanner --input sentences.txt --precision binary --output bits.npy
  lanner encode splade.lanner --input sentences.txt --output weights.jsonl
  lanner encode colbert.lanner --input questions.txt --task query --output tokens.npz
  lanner encode minilm.lanner --on local --workers 4 --input folder --output vectors
  lanner encode minilm.lanner --input big.jsonl --id-column id --keep lang,url --no-text \\
      --on-bad-row skip --output vectors.parquet
  zcat big.jsonl.gz | lanner encode minilm.lanner --input - --input-format jsonl --output out.npy

A file is encoded in chunks of 8,192 rows. After a kill the same command continues behind the last
complete chunk, and the output is the same byte for byte; .FILE.partial next to it holds the rows so
far.
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "encode", summary="turn texts into vectors", examples=_EXAMPLES
    )
    add_model_options(parser, is_optional=True)
    suffixes = tuple(FORMATS)
    add_input_options(
        parser,
        outputs=suffixes,
        output_help=f"a {' or '.join(suffixes)} file (default: stdout); with --on a folder",
    )
    add_job_options(parser)
    parser.add_argument(
        "--input-format",
        choices=[suffix[1:] for suffix in TEXT_SUFFIXES],
        help="the format of --input, if its suffix does not tell (default of stdin: txt)",
    )
    parser.add_argument(
        "--id-column",
        metavar="COLUMN",
        help="copy this column to the output; no value may be missing",
    )
    parser.add_argument(
        "--keep",
        metavar="COLUMN[,COLUMN...]",
        default="",
        help="copy these columns to the output",
    )
    parser.add_argument("--no-text", action="store_true", help="omit the texts from the output")
    parser.add_argument(
        "--on-bad-row",
        choices=("fail", "skip"),
        default="fail",
        help="a row without a usable text ends the run, whose finished chunks stay, or is left out "
        "(default: fail)",
    )
    parser.add_argument(
        "--restart",
        action="store_true",
        help="begin again, and discard what an earlier run has finished",
    )
    parser.add_argument(
        "--prompt-name",
        help="the name of a prompt of the checkpoint, such as query, to put before each text",
    )
    parser.add_argument("--normalize", action="store_true", help="scale the vectors to length 1")
    parser.add_argument(
        "--truncate-dim",
        metavar="N",
        type=positive,
        help="keep only the first N dimensions (Matryoshka)",
    )
    parser.add_argument(
        "--task",
        choices=tuple(PROMPTS_OF_TASK),
        help="read the texts so: with the prompt of the task and by its way, if the model has them "
        "(default: as encode does, of the head tokens as documents)",
    )
    parser.add_argument(
        "--max-active-dims",
        metavar="N",
        type=positive,
        help="of the head sparse: the most terms of a text (default: the checkpoint's own)",
    )
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="int8 or uint8: one byte per dimension, by the ranges that the artifact stores; "
        "binary or ubinary: one bit per dimension (default: float32)",
    )
    parser.add_argument(
        "--on-long",
        choices=("truncate", "error", "chunk"),
        default="truncate",
        help="a text longer than the model's limit: cut it, and count such texts; refuse it; or "
        "give it the mean of the vectors of overlapping chunks (default: truncate)",
    )
    parser.add_argument(
        "--chunk-overlap",
        metavar="N",
        type=int,
        help="tokens of a chunk that the next one repeats (default: an eighth of it)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    if args.status is not None:
        _show_status(args, args.status)
        return
    need(args.model, "pass an artifact, DIR, or the URL of a model on a server")
    need(
        args.chunk_overlap is None or args.on_long == "chunk",
        "--chunk-overlap is for --on-long chunk",
    )
    if args.on is not None:
        _run_job(args, columns_of(args))
        return
    need(args.workers is None, "--workers is for --on local")
    check_input_options(args)
    columns = columns_of(args)
    with _rows(args, columns) as rows:
        model = load_model(args)
        encode, count_cut = with_cut_counter(args, model, encoder(args, model))
        # Of several ways, the one that reads these texts.
        model = model.way(args.task) if model.manifest.head_record.embeds else model
        summary = {
            "dimension": args.truncate_dim or model.manifest.dimension,
            "precision": args.precision,
            "variant": model.variant.name,
            "engine": model.runner.engine.name,
        }
        json_of = json_form(model)
        if args.output is None:
            _print(args, rows, encode, summary, count_cut, json_of)
        else:
            identity = _identity(args, model, columns)
            _write(args, rows, encode, summary, identity, count_cut, json_of)


@contextmanager
def _rows(args: argparse.Namespace, columns: Columns) -> Iterator[Rows]:
    if args.texts:
        yield GivenRows(args.texts, args.column)
    else:
        with open_rows(args.input, columns, kind=f".{_input_format(args)}") as rows:
            yield rows


def _input_format(args: argparse.Namespace) -> str:
    if args.input_format or not args.input:
        return args.input_format or "arguments"
    return "txt" if args.input == "-" else Path(args.input).suffix.lower().removeprefix(".")


def _run_job(args: argparse.Namespace, columns: Columns) -> None:
    from lanner.distributed.command import executor_of, job_of  # noqa: PLC0415 (an extra)

    job = job_of(args, columns)
    with tqdm(unit=" fragments", disable=not sys.stderr.isatty()) as bar:
        done = job.run(executor_of(args), lambda _: bar.update())
    _show_status(args, str(args.output), this_run=done._asdict())


def _show_status(args: argparse.Namespace, place: str, **more: object) -> None:
    from lanner.distributed.status import status_of  # noqa: PLC0415 (an extra)

    found = status_of(place)
    say(str(found))
    if args.json:
        print_json({**found.to_json(), **more})


def _print(
    args: argparse.Namespace,
    rows: Rows,
    encode: Encode,
    summary: Mapping[str, Any],
    count_cut: CountCut | None,
    json_of: JsonOf,
) -> None:
    """Print vectors to stdout: chunk by chunk, or as one JSON object."""
    layout = Layout(rows, encode([]), with_text=not args.no_text)
    if json_of is not None:
        layout = replace(layout, json_of=json_of)
    if not args.json:
        layout.require_json()
    embeddings: list[Any] = []
    bad_rows: list[str] = []
    texts = skipped = cut = 0
    with Progress(rows) as progress:
        progress.show(0)
        for chunk in chunks(rows, skips_bad_rows=args.on_bad_row == "skip"):
            given = [row.values[args.column] for row in chunk.rows]
            vectors = encode(given)
            cut += 0 if count_cut is None else count_cut(given)
            if args.json:
                embeddings += map(layout.json_of, vectors)
            else:
                for row, vector in zip(chunk.rows, vectors, strict=True):
                    sys.stdout.write(json_line(row, layout.record(row, vector)))
            texts += len(chunk.rows)
            skipped += len(chunk.bad)
            bad_rows = [*bad_rows, *(row.message for row in chunk.bad)][:BAD_ROWS_SHOWN]
            progress.show(texts)
    if skipped:
        say(_skipped(skipped, bad_rows))
    if cut:
        say(_cut(cut))
    if args.json:
        known = None if count_cut is None else cut
        print_json({"texts": texts, **summary, "cut_texts": known, "embeddings": embeddings})


def _write(
    args: argparse.Namespace,
    rows: Rows,
    encode: Encode,
    summary: Mapping[str, Any],
    identity: Mapping[str, Any],
    count_cut: CountCut | None,
    json_of: JsonOf,
) -> None:
    """Write vectors to a file."""
    done: Written | None = None

    def progressed(written: Written) -> None:
        nonlocal done
        if done is None and written.rows:
            say(f"continuing behind row {written.rows:,} of {rows.name}")
        done = written
        progress.show(written.vectors)

    with Progress(rows) as progress:
        bulk = Bulk(
            rows,
            encode,
            args.output,
            identity,
            Origin(*(str(identity[name]) for name in ("variant", "engine", "artifact"))),
            with_text=not args.no_text,
            skips_bad_rows=args.on_bad_row == "skip",
            restart=args.restart,
            count_cut=count_cut,
            json_of=json_of,
            progressed=progressed,
        )
        try:
            written, earlier_rows = bulk.run()
        except (KeyboardInterrupt, SystemExit):
            if done is not None and done.rows:
                say(f"the same command continues behind row {done.rows:,}")
            raise
    known = None if count_cut is None else written.cut
    _tell(args, written, {**summary, "resumed_behind_row": earlier_rows, "cut_texts": known})


def _tell(args: argparse.Namespace, written: Written, summary: Mapping[str, Any]) -> None:
    kind = "vectors" if args.precision == "float32" else f"{args.precision} vectors"
    what = f"{written.vectors:,} {kind} of {summary['dimension']} dimensions"
    say(f"{what} in {args.output}, by {summary['variant']} in {summary['engine']}")
    if written.skipped:
        say(_skipped(written.skipped, written.bad_rows))
    if written.cut:
        say(_cut(written.cut))
    if args.json:
        print_json(
            {
                "texts": written.vectors,
                **summary,
                "output": str(args.output),
                "skipped_rows": written.skipped,
                "bad_rows": written.bad_rows,
            }
        )


def _cut(count: int) -> str:
    """Describe the texts that were cut, and the ways out."""
    return (
        f"{count:,} texts are longer than the model's limit and were cut: refuse them with "
        "--on-long error, or encode them in parts with --on-long chunk"
    )


def _skipped(count: int, messages: Sequence[str]) -> str:
    """Describe the bad rows, the first of them in full."""
    more = ["..."] if count > len(messages) else []
    return "\n  ".join([f"{count:,} bad rows skipped:", *messages, *more])


def _identity(args: argparse.Namespace, model: Any, columns: Columns) -> dict[str, Any]:
    """Return all that the output depends on, except the input: the model and every option.

    A new option is included automatically, unless `MAY_DIFFER` lists it.
    """
    runner = model.runner
    engine = runner.engine.name
    record = find_engine(engine)
    packages = ["numpy", "tokenizers", *(() if record is None else record.packages)]
    if args.output:
        packages += FORMATS[args.output.suffix].packages
    options = {name: value for name, value in vars(args).items() if name not in MAY_DIFFER}
    return {
        "variant": model.variant.name,
        "engine": engine,
        **_place(args, model),
        "number of workers": runner.workers,
        "token budget": runner.token_budget,
        "dimension": args.truncate_dim or model.manifest.dimension,
        "set of kept columns": [*columns.kept],
        "input format": _input_format(args),
        **{option_of(name): str(value) for name, value in sorted(options.items())},
        "lanner version": __version__,
        **{f"{name} version": v for name, v in package_versions(*packages).items()},
    }


def _place(args: argparse.Namespace, model: Any) -> dict[str, Any]:
    """Return the engine, variant and cores; for a server, its description of the model."""
    if is_url(args.model):
        return {
            "server": args.model,
            "version of the model": model.runner.engine.served.version,
            "artifact": model.manifest.checksum[:16],
        }
    machine = this_machine()
    return {
        "artifact": model.manifest.checksum[:16],
        "number of threads": args.threads or available_cores(),
        "CPU": f"{machine.cpu} {' '.join(machine.cpu_flags)}",
    }
