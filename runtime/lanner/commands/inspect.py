"""`lanner inspect`: what an artifact holds, its sizes and quality, and whether it is whole."""

import argparse
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from lanner.artifact import Artifact
from lanner.commands.common import Subparsers, add_command, print_json, size, table
from lanner.errors import VariantError
from lanner.manifest import HALF_PRECISIONS, FileRecord, Manifest, Variant

_EXAMPLES = """\
  lanner inspect minilm.lanner
  lanner inspect minilm.lanner --json | jq '.variants[].name'
"""


#: More labels than these are counted.
_MOST_LABELS = 10


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
    try:
        picked = artifact.choose().name
    except VariantError:  # int8 alone, on a CPU that cannot run it exactly: it must be asked for
        picked = None
    size_bytes = sum(record.bytes for record in manifest.files.values())
    header: list[tuple[object, ...]] = [("variant", "size", "opset", "fused operators", "")]
    variants: list[tuple[object, ...]] = [
        (
            variant.name,
            size(variant_bytes(manifest.files, variant)),
            variant.opset,
            ", ".join(f"{name} {count}" for name, count in variant.fused_ops.items()) or "none",
            "picked by default on this machine" if variant.name == picked else _purpose(variant),
        )
        for variant in manifest.variants
    ]
    title = f"{manifest.name}: {manifest.head}, {transformer_sentence(manifest)}"
    prompts = [name for name, text in manifest.prompts.items() if text]
    return "\n".join(
        [
            title,
            f"  answers     {answer_sentence(manifest)}",
            f"  longest     {longest_sentence(manifest)}",
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


def _purpose(variant: Variant) -> str:
    # Without a GPU its quality is that of a graph that rounds where it does.
    return "for GPUs; quality emulated" if variant.precision in HALF_PRECISIONS else ""


#: What quality.json says of a variant: name for people, key, format.
_VECTOR_COLUMNS = (
    ("cosine min", "cosine_min", ".6f"),
    ("cosine mean", "cosine_mean", ".6f"),
    ("largest difference", "largest_difference", ".1e"),
    ("batch independence", "batch_independence_cosine", ".6f"),
)
_LOGITS_COLUMNS = (
    ("same label", "label_agreement", ".4f"),
    ("mean score difference", "mean_score_difference", ".1e"),
    ("largest logit difference", "largest_difference", ".1e"),
    ("batch dependence", "batch_independence_difference", ".1e"),
)


def variant_bytes(files: Mapping[str, FileRecord], variant: Variant) -> int:
    """The size of a variant's file, and of its weights where they are in another."""
    names = [variant.file, variant.weights_file]
    return sum(files[name].bytes for name in names if name is not None)


def transformer_sentence(manifest: Manifest) -> str:
    """What an artifact was made from, in a few words."""
    architecture = manifest.architecture
    parameters = f"{architecture.parameters / 1e6:.1f} M parameters"
    if architecture.layers == 0:
        return f"{architecture.model_type} of {architecture.vocabulary_size:,} words, {parameters}"
    return f"{architecture.model_type}, {architecture.layers} layers, {parameters}"


def longest_sentence(manifest: Manifest) -> str:
    """How long a text may be, and what becomes of a longer one."""
    limit = manifest.tokenizer.max_tokens
    if limit is None:
        return "no limit"
    end = "what is longer is read in windows" if manifest.head == "tag" else "what is longer is cut"
    return f"{limit} tokens, {end}"


def quality_rows(quality: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """What was measured of each variant, a row each under a row of names."""
    measured = quality["variants"]
    is_of_vectors = all("cosine_min" in figures for figures in measured.values())
    columns = _VECTOR_COLUMNS if is_of_vectors else _LOGITS_COLUMNS
    rows = [("variant", *(title for title, _, _ in columns))]
    for name, figures in measured.items():
        values = [figures[key] for _, key, _ in columns]
        forms = [form for _, _, form in columns]
        shown = ["-" if v is None else format(v, f) for v, f in zip(values, forms, strict=True)]
        rows.append((name, *shown))
    return rows


def answer_sentence(manifest: Manifest) -> str:
    """What an artifact makes of texts, in a few words."""
    labels = ", ".join(manifest.labels[:_MOST_LABELS])
    if len(manifest.labels) > _MOST_LABELS:
        labels += f", ... ({len(manifest.labels)} labels)"
    if manifest.head == "embed":
        return f"vectors of {manifest.dimension} dimensions, compared by {manifest.similarity}"
    if manifest.head == "score":
        of = "" if manifest.scored_label is None else f" of {manifest.scored_label!r}"
        return f"a score a pair ({manifest.activation}{of})"
    what = "entities" if manifest.head == "tag" else "labels"
    many = ", any number at once" if manifest.activation == "sigmoid" else ""
    return f"{what}{many}: {labels}"


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
            table(quality_rows(quality)),
            spearman_sentence(quality),
        ]
    ).rstrip()
