"""`lanner inspect`: what an artifact holds, its sizes and quality, and whether it is whole."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lanner.artifact import Artifact
from lanner.commands.common import Subparsers, add_command, print_json, size, table
from lanner.errors import VariantError

_EXAMPLES = """\
  lanner inspect minilm.lanner
  lanner inspect minilm.lanner --json | jq '.variants[].name'
"""


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "inspect",
        summary="show what an artifact holds, and verify the checksum of every file",
        examples=_EXAMPLES,
    )
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    artifact = Artifact.open(args.artifact)
    artifact.verify()
    quality = artifact.quality()
    if args.json:
        content = asdict(artifact.manifest)
        print_json({**content, "quality": quality, "verified": True})
    else:
        print(describe(artifact, quality))


def describe(artifact: Artifact, quality: dict[str, Any]) -> str:
    """The artifact in words and two tables."""
    manifest = artifact.manifest
    architecture = manifest.architecture
    try:
        picked = artifact.choose().name
    except VariantError:  # int8 alone, on a CPU that cannot run it exactly: it must be asked for
        picked = None
    size_bytes = sum(record.bytes for record in manifest.files.values())
    header: list[tuple[object, ...]] = [("variant", "size", "opset", "fused operators", "")]
    variants: list[tuple[object, ...]] = [
        (
            variant.name,
            size(manifest.files[variant.file].bytes),
            variant.opset,
            ", ".join(f"{name} {count}" for name, count in variant.fused_ops.items()) or "none",
            "picked by default on this machine" if variant.name == picked else "",
        )
        for variant in manifest.variants
    ]
    title = (
        f"{manifest.name}: {manifest.head}, {architecture.model_type}, "
        f"{architecture.layers} layers, {architecture.parameters / 1e6:.1f} M parameters"
    )
    prompts = [name for name, text in manifest.prompts.items() if text]
    return "\n".join(
        [
            title,
            f"  vectors     {manifest.dimension} dimensions, {manifest.similarity} similarity",
            f"  longest     {manifest.tokenizer.max_tokens} tokens",
            f"  prompts     {', '.join(prompts) or 'none'}",
            f"  made from   {manifest.source['checkpoint']} on {manifest.created}",
            f"  made with   {', '.join(f'{k} {v}' for k, v in manifest.versions.items())}",
            f"  files       {len(manifest.files) + 1}, {size(size_bytes)}, checksums verified",
            "",
            table(header + variants),
            "",
            quality_table(quality),
        ]
    )


QUALITY_COLUMNS = (
    "variant",
    "cosine min",
    "cosine mean",
    "largest difference",
    "batch independence",
)


def quality_rows(quality: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What was measured of each variant, a row each under `QUALITY_COLUMNS`."""
    return [
        (
            name,
            f"{measured['cosine_min']:.6f}",
            f"{measured['cosine_mean']:.6f}",
            f"{measured['largest_difference']:.1e}",
            f"{measured['batch_independence_cosine']:.6f}",
        )
        for name, measured in quality["variants"].items()
    ]


def spearman_sentence(quality: Mapping[str, Any]) -> str:
    """The correlations with labelled pairs, or nothing where none were given."""
    labelled = quality.get("spearman")
    if labelled is None:
        return ""
    variants = "".join(f", {name} {value:.2f}" for name, value in labelled["variants"].items())
    return (
        f"Spearman x100 on the {labelled['pairs']:,} pairs of {labelled['data']}: "
        f"checkpoint {labelled['checkpoint']:.2f}{variants}"
    )


def quality_table(quality: Mapping[str, Any]) -> str:
    """What was measured of each variant, against the checkpoint in its own framework."""
    return "\n".join(
        [
            f"quality against the checkpoint, {quality['texts']} texts",
            table([QUALITY_COLUMNS, *quality_rows(quality)]),
            spearman_sentence(quality),
        ]
    ).rstrip()
