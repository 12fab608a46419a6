"""`lanner encode`: texts to vectors, to stdout or a file."""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.commands.common import (
    Subparsers,
    add_command,
    add_input_options,
    add_model_options,
    load_model,
    print_json,
    read_input,
    say,
    shows_progress,
    write_jsonl,
)
from lanner.embedding_precision import PRECISIONS
from lanner.staging import staged_file

_EXAMPLES = """\
  lanner encode minilm.lanner "A plane is taking off."
  lanner encode minilm.lanner --input sentences.txt --output vectors.npy
  lanner encode minilm.lanner --input rows.csv --column body --output vectors.jsonl
  lanner encode minilm.lanner --input sentences.txt --precision binary --output bits.npy
  cat sentences.txt | lanner encode minilm.lanner --input - --output vectors.npy
"""
OUTPUT_SUFFIXES = (".npy", ".jsonl")


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers, "encode", summary="turn texts into vectors", examples=_EXAMPLES
    )
    add_model_options(parser)
    add_input_options(parser, outputs=OUTPUT_SUFFIXES)
    parser.add_argument("--prompt-name", help="which of the checkpoint's prompts to use")
    parser.add_argument("--normalize", action="store_true", help="scale the vectors to length 1")
    parser.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="int8 or uint8: a byte a dimension, by the ranges that the artifact stores; "
        "binary or ubinary: a bit a dimension (default: float32)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    texts = read_input(args)
    model = load_model(args)
    vectors = model.encode(
        texts,
        prompt_name=args.prompt_name,
        normalize_embeddings=args.normalize,
        precision=args.precision,
        show_progress_bar=shows_progress(args),
    )
    if args.output is not None:
        _write(args.output, texts, vectors)
        kind = "vectors" if args.precision == "float32" else f"{args.precision} vectors"
        say(f"{len(texts):,} {kind} of {model.manifest.dimension} dimensions in {args.output}")
    summary = {
        "texts": len(texts),
        "dimension": model.manifest.dimension,
        "precision": args.precision,
        "variant": model.variant.name,
    }
    if args.json and args.output is not None:
        print_json({**summary, "output": str(args.output)})
    elif args.json:
        print_json({**summary, "embeddings": vectors.tolist()})
    elif args.output is None:
        for text, vector in zip(texts, vectors, strict=True):
            print_json(_record(text, vector))


def _write(path: Path, texts: list[str], vectors: NDArray[Any]) -> None:
    if path.suffix == ".npy":
        with staged_file(path) as file:
            np.save(file, vectors)
    else:
        pairs = zip(texts, vectors, strict=True)
        write_jsonl(path, (_record(text, vector) for text, vector in pairs))


def _record(text: str, vector: NDArray[Any]) -> dict[str, object]:
    return {"text": text, "embedding": vector.tolist()}
