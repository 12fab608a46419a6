"""The calls of a model by `lanner encode`, by its head and the options."""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from lanner.artifact.heads import AnswerKind
from lanner.errors import UnsupportedError, UsageError
from lanner.files.rows import Columns
from lanner.files.vector_file import EMBEDDING, TEXT, Vectors
from lanner.files.vector_formats import FORMATS
from lanner.models.prompts import seen_lengths
from lanner.models.tokens import DOCUMENT

Encode = Callable[[list[str]], Vectors]
CountCut = Callable[[list[str]], int]
JsonOf = Callable[[Any], Any] | None


def with_cut_counter(
    args: argparse.Namespace, model: Any, encode: Encode
) -> tuple[Encode, CountCut | None]:
    """Return the function that encodes texts, and one that counts those of its last that were cut.

    The second is None if no text is cut, or none is known. Texts that the call has found shorter
    than the limit are not tokenised again.
    """
    if args.on_long != "truncate" or not model.manifest.head_record.embeds:
        return encode, None
    try:
        model.cut_indices([])
    except UnsupportedError:  # a server tokenises
        return encode, None
    name = args.prompt_name or (model.prompt_of_task(args.task) if args.task else None)
    tokenizer = model.way(args.task).tokenizer
    limit, characters = tokenizer.max_tokens, tokenizer.max_characters or sys.maxsize
    lengths: list[int] = []

    def encode_and_see(texts: list[str]) -> Vectors:
        lengths.clear()
        before = seen_lengths.set(lengths)
        try:
            return encode(texts)
        finally:
            seen_lengths.reset(before)

    def count(texts: list[str]) -> int:
        seen = zip(texts, lengths[len(lengths) - len(texts) :], strict=True)
        asked = [
            text
            for text, length in seen
            if (limit is not None and length >= limit) or len(text) > characters
        ]
        return len(model.cut_indices(asked, prompt_name=name, task=args.task))

    return encode_and_see, count


def encoder(args: argparse.Namespace, model: Any) -> Encode:
    """Return the function that encodes texts, after a check that the options fit the head."""
    record = model.manifest.head_record
    is_ragged = record.answers_vectors and not record.embeds
    if args.output is not None:
        holds = "holds_ragged" if is_ragged else "holds_dense"
        fitting = [suffix for suffix, kind in FORMATS.items() if getattr(kind, holds)]
        _need(
            args.output.suffix in fitting,
            f"a {args.output.suffix} file does not hold the {record.noun} of {args.model}: use "
            f"{' or '.join(fitting)}",
        )
    for option, value, own in (
        ("--normalize", args.normalize or None, not is_ragged),
        ("--truncate-dim", args.truncate_dim, not is_ragged),
        ("--precision", None if args.precision == "float32" else True, not is_ragged),
        ("--on-long", None if args.on_long == "truncate" else True, not is_ragged),
        ("--max-active-dims", args.max_active_dims, record.answer is AnswerKind.TERMS),
    ):
        _need(own or value is None, f"{option} does not fit the {record.noun} of {args.model}")
    named = {"prompt_name": args.prompt_name}
    if record.answer is AnswerKind.TERMS:
        limit = args.max_active_dims
        return partial(model.sparse_vectors, **named, task=args.task, max_active_dims=limit)
    if is_ragged:
        return partial(model.token_vectors, **named, task=args.task or DOCUMENT)
    encode = getattr(model, f"encode_{args.task}" if args.task else "encode")
    return partial(
        encode,
        **named,
        normalize_embeddings=args.normalize,
        truncate_dim=args.truncate_dim,
        precision=args.precision,
        on_long=args.on_long,
        chunk_overlap=args.chunk_overlap,
    )


def json_form(model: Any) -> JsonOf:
    """Return the function that turns a vector into JSON: terms with their weights, if sparse."""
    if model.manifest.head_record.answer is not AnswerKind.TERMS:
        return None
    return lambda row: dict(next(model.terms([row])))


def columns_of(args: argparse.Namespace) -> Columns:
    """Return the columns of a row, after a check that the output holds them.

    Raises:
        UsageError: It does not.
    """
    ids = [args.id_column] if args.id_column else []
    kept = list(dict.fromkeys([*ids, *filter(None, map(str.strip, args.keep.split(",")))]))
    where = "--json" if args.json and args.output is None else ""
    is_file = args.output and args.on is None
    if is_file and not FORMATS[args.output.suffix].holds_columns:
        where = f"a {args.output.suffix} file"
    with_columns = " or ".join(suffix for suffix, found in FORMATS.items() if found.holds_columns)
    _need(
        not kept or not where,
        f"{where} holds the vectors alone: use a {with_columns} --output for --id-column and "
        "--keep",
    )
    _need(not kept or args.input, "--id-column and --keep need --input FILE")
    taken = {EMBEDDING} if args.no_text else {EMBEDDING, TEXT}
    for name in kept:
        _need(
            name not in taken,
            f"the output has a column {name!r} of its own: rename the column of the input"
            + (", or use --no-text" if name == TEXT else ""),
        )
    return Columns([args.column], kept, ids)


def _need(condition: object, message: str) -> None:
    if not condition:
        raise UsageError(message)
