"""`lanner export`: a checkpoint becomes an artifact."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.commands import common
from lanner.commands.doctor import missing_modules
from lanner.commands.inspect import describe
from lanner.errors import MissingExtraError
from lanner_export import DEFAULT_PRECISIONS, HEADS, PRECISIONS

if TYPE_CHECKING:
    from lanner.artifact import Artifact

_EXAMPLES = """\
  lanner export path/to/checkpoint --output mine.lanner
  lanner export sentence-transformers/all-MiniLM-L6-v2 --output minilm.lanner
  lanner export path/to/checkpoint --output mine.lanner --precision int8 --calibration texts.txt
  lanner export path/to/checkpoint --output mine.lanner --quality-data pairs.csv --overwrite
  lanner export path/to/classifier --output duplicates.lanner --head score
"""


def add_parser(subparsers: common.Subparsers) -> None:
    """See `lanner.commands`. Nothing heavy is imported before the command runs."""
    missing = missing_modules()["export"]
    parser = common.add_command(
        subparsers,
        "export",
        summary="make an artifact of a checkpoint"
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
        "--head", choices=HEADS, default="auto", help="what the model answers (default: auto)"
    )
    parser.add_argument(
        "--precision",
        metavar="LIST",
        type=_precisions,
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
        "--max-tokens",
        metavar="N",
        type=common.positive,
        help="longest input (default: the checkpoint's own limit)",
    )
    parser.add_argument(
        "--truncate-dim",
        metavar="N",
        type=common.positive,
        help="dimensions of a vector to keep (default: all that the checkpoint gives)",
    )
    parser.add_argument(
        "--positive-label",
        metavar="LABEL",
        help="with --head score: the label whose probability is the score (default: second of two)",
    )
    parser.add_argument(
        "--quality-data",
        metavar="FILE",
        type=Path,
        help="CSV of sentence1,sentence2,score: report Spearman's correlation (embed, score)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="replace an artifact that is at --output"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Exports, and shows what was made.

    Raises:
        MissingExtraError: The packages of the export extra are not all installed.
    """
    if missing := missing_modules()["export"]:
        what = "lanner export"
        raise MissingExtraError(what, "export", missing[0])
    artifact = _export(args)
    artifact.verify()
    quality = artifact.quality()
    if args.json:
        common.print_json(
            {
                "artifact": str(artifact.directory),
                "variants": [variant.name for variant in artifact.manifest.variants],
                "quality": quality,
            }
        )
    else:
        print(describe(artifact, quality))


def _export(args: argparse.Namespace) -> "Artifact":
    warnings: list[str] = []
    try:
        with common.steps() as begin:
            begin("importing torch and transformers")
            from lanner_export.export import export  # noqa: PLC0415 (takes seconds)

            return export(
                args.checkpoint,
                args.output,
                head=args.head,
                precisions=args.precision,
                calibration=args.calibration,
                max_tokens=args.max_tokens,
                truncate_dim=args.truncate_dim,
                positive_label=args.positive_label,
                quality_data=args.quality_data,
                overwrite=args.overwrite,
                progress=begin,
                warn=warnings.append,
            )
    finally:
        for warning in warnings:
            common.say(f"lanner: warning: {warning}")


def _precisions(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    unknown = [name for name in names if name not in PRECISIONS]
    if unknown or not names:
        msg = f"{text!r}: use a comma-separated list of {', '.join(PRECISIONS)}"
        raise argparse.ArgumentTypeError(msg)
    return names
