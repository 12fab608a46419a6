"""`lanner export`: a checkpoint becomes an artifact."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.artifact.quality_budget import QualityBudget
from lanner.commands import console, options
from lanner.commands.doctor import missing_packages
from lanner.commands.inspect import describe
from lanner.errors import MissingExtraError
from lanner_export import (
    DEFAULT_PRECISIONS,
    HEADS,
    POOLINGS,
    PRECISIONS,
    SEGMENTERS,
    SIF_SMOOTHING,
)

if TYPE_CHECKING:
    from lanner.artifact.artifact import Artifact

_EXAMPLES = """\
  lanner export path/to/checkpoint --output mine.lanner
  lanner export sentence-transformers/all-MiniLM-L6-v2 --output minilm.lanner
  lanner export path/to/checkpoint --output mine.lanner --precision int8 --calibration texts.txt
  lanner export path/to/checkpoint --output mine.lanner --quality-data pairs.csv --overwrite
  lanner export path/to/checkpoint --output small.lanner --vocabulary-from texts.txt --keep-layers 3
  lanner export path/to/checkpoint --output mine.lanner --budget cosine:0.995
  lanner export path/to/classifier --output duplicates.lanner --head score
  lanner export vectors.zh.bin --output words.lanner --segment jieba
  lanner export path/to/lora-adapter --output mine.lanner --base path/to/its/base
"""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the command; see `lanner.commands`. Heavy imports wait until it runs."""
    missing = missing_packages("export")
    parser = options.add_command(
        subparsers,
        "export",
        summary="make an artifact from a checkpoint"
        + (" (needs: pip install 'lanner[export]')" if missing else ""),
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "checkpoint",
        metavar="CHECKPOINT",
        help="a sentence-transformers or transformers directory, or a hub name",
    )
    parser.add_argument(
        "--output", metavar="DIR", required=True, type=Path, help="the artifact to make"
    )
    parser.add_argument(
        "--head",
        choices=HEADS,
        default="auto",
        help="the head to export (default: auto, the one of the checkpoint)",
    )
    parser.add_argument(
        "--precision",
        metavar="LIST",
        type=options.some_of(PRECISIONS),
        default=DEFAULT_PRECISIONS,
        help=f"variants to make, comma-separated, of {', '.join(PRECISIONS)} "
        f"(default: {','.join(DEFAULT_PRECISIONS)}; fp16 and bf16 are for GPUs)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="texts for the ranges of int8: .txt, .csv, .jsonl (default: shipped sentences)",
    )
    parser.add_argument(
        "--without-pass",
        metavar="NAME",
        action="append",
        default=[],
        help="omit a rewrite of the graph (see docs/explanation/graph.md); may be repeated",
    )
    parser.add_argument(
        "--max-tokens",
        metavar="N",
        type=options.positive,
        help="the longest input in tokens (default: the checkpoint's own limit)",
    )
    parser.add_argument(
        "--truncate-dim",
        metavar="N",
        type=options.positive,
        help="keep only the first N dimensions of a vector (default: as the checkpoint does)",
    )
    parser.add_argument(
        "--pooling",
        choices=POOLINGS,
        help="the way to make one vector of a text's tokens, if the checkpoint does not name it "
        "(default: mean)",
    )
    parser.add_argument(
        "--positive-label",
        metavar="LABEL",
        help="with --head score: the label whose probability is the score (default: second of two)",
    )
    parser.add_argument(
        "--base",
        metavar="DIR|NAME",
        help="of an adapter (LoRA): the checkpoint that it was trained for (default: the weights "
        "beside it, or the directory that its configuration names)",
    )
    parser.add_argument(
        "--adapter",
        metavar="[TASK=]NAME",
        action="append",
        default=[],
        help="of a checkpoint with a folder for each adapter: the one to merge, or query=NAME and "
        "document=NAME for an artifact that reads queries and documents with one each",
    )
    parser.add_argument(
        "--allow-pickle",
        action="store_true",
        help="read weights that are pickles (.bin), by torch's safe unpickling of tensors alone",
    )
    parser.add_argument(
        "--keep-layers",
        metavar="LIST|N",
        type=_layers,
        help="the layers to keep: their numbers from 0, such as 0,2,4 (one alone: 4,), or how "
        "many, which are then spaced evenly from the first to the last (default: all)",
    )
    parser.add_argument(
        "--vocabulary-from",
        metavar="FILE",
        type=Path,
        help="keep only the tokens of the texts in this .txt, .csv or .jsonl file, special tokens "
        "and single characters; these texts keep their tokens (default: all tokens)",
    )
    parser.add_argument(
        "--segment",
        choices=SEGMENTERS,
        default="auto",
        help="of word vectors: what finds the words of a text; jieba is for Chinese (default: "
        "auto, jieba if most words are Chinese, unless the given texts have blanks between words)",
    )
    parser.add_argument(
        "--sif",
        metavar="FILE",
        type=Path,
        help="of word vectors: weigh each word by its inverse frequency in the texts of this .txt, "
        ".csv or .jsonl file (default: all words count the same)",
    )
    parser.add_argument(
        "--sif-smoothing",
        metavar="A",
        type=float,
        default=SIF_SMOOTHING,
        help=f"with --sif: the weight of a word with the frequency p is A / (A + p) (default: "
        f"{SIF_SMOOTHING})",
    )
    parser.add_argument(
        "--remove-component",
        action="store_true",
        help="with --sif: take the first principal component of those texts' vectors out of all",
    )
    parser.add_argument(
        "--quality-data",
        metavar="FILE",
        type=Path,
        help="labelled data to measure quality with, .csv or .jsonl; the columns are "
        "sentence1,sentence2,score (embed, sparse, tokens, score), text,label (classify) or "
        "text,entities (tag)",
    )
    parser.add_argument(
        "--budget",
        metavar="MEASURE:BOUND",
        type=options.argument(QualityBudget.parse),
        help="with --quality-data, the most that int8 may lose in points x100: spearman:0.3, "
        "accuracy:0.5 or f1:0.5; without labels, the least agreement: cosine:0.995, "
        "neighbours@10:0.9, terms@20:0.9, rank_correlation:0.99 or agreement:0.99; products stay "
        "in float32 until the bound holds",
    )
    parser.add_argument("--overwrite", action="store_true", help="replace the artifact at --output")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Export, and show the result.

    Raises:
        MissingExtraError: The packages of the export extra are not all installed.
    """
    if missing := missing_packages("export"):
        what = "lanner export"
        raise MissingExtraError(what, "export", missing[0])
    artifact = _export(args)
    artifact.verify()
    quality = artifact.quality()
    if args.json:
        console.print_json(
            {
                "artifact": str(artifact.directory),
                "variants": [variant.name for variant in artifact.manifest.variants],
                "quality": quality,
            }
        )
    else:
        console.show(describe(artifact, quality))


def _export(args: argparse.Namespace) -> "Artifact":
    warnings: list[str] = []
    try:
        with console.steps() as begin:
            begin("importing torch and transformers")
            from lanner_export.export import export  # noqa: PLC0415 (takes seconds)

            return export(
                args.checkpoint,
                args.output,
                head=args.head,
                precisions=args.precision,
                calibration=args.calibration,
                without_passes=args.without_pass,
                max_tokens=args.max_tokens,
                truncate_dim=args.truncate_dim,
                pooling=args.pooling,
                positive_label=args.positive_label,
                base=args.base,
                adapters=args.adapter,
                allow_pickle=args.allow_pickle,
                keep_layers=args.keep_layers,
                vocabulary_from=args.vocabulary_from,
                segment=args.segment,
                sif=args.sif,
                sif_smoothing=args.sif_smoothing,
                remove_component=args.remove_component,
                quality_data=args.quality_data,
                budget=args.budget,
                overwrite=args.overwrite,
                progress=begin,
                warn=warnings.append,
            )
    finally:
        for warning in warnings:
            console.say(f"lanner: warning: {warning}")


def _layers(text: str) -> int | tuple[int, ...]:
    numbers = text.removesuffix(",").split(",")
    try:
        layers = tuple(int(number) for number in numbers)
    except ValueError:
        msg = f"{text!r}: use numbers from 0 on, comma-separated, or how many"
        raise argparse.ArgumentTypeError(msg) from None
    return layers if "," in text else layers[0]
