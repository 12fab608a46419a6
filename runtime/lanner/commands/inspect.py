"""`lanner inspect`: show an artifact's content, sizes and quality, and verify its files."""

import argparse
from collections.abc import Iterator
from dataclasses import asdict
from textwrap import wrap
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.heads import AnswerKind
from lanner.artifact.manifest import HALF_PRECISIONS, Manifest, Variant
from lanner.artifact.quality_card import QualityCard, calibration_sentence, float32_sentence
from lanner.commands.console import print_json, show, size, table
from lanner.commands.options import Subparsers, add_command
from lanner.engines import ENGINES, find_engine
from lanner.engines.model_file import verified_model
from lanner.engines.registry import NATIVE, EngineRecord
from lanner.errors import (
    ArtifactError,
    EngineError,
    LannerError,
    MissingExtraError,
    VariantError,
)
from lanner.loading.selection import plans, refusal_here, select
from lanner.loading.tuned import Choice, stored_choice
from lanner.machine.machine import available_cores

_EXAMPLES = """\
  lanner inspect minilm.lanner
  lanner inspect minilm.lanner --json | jq '.variants[].name'
"""


_WIDTH = 100
#: Up to this many labels are named; more are counted.
_MOST_LABELS = 10
_NATIVE_PRECISIONS = ("fp32", "int8")


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
        choice = _stored(artifact)
        tuned = None if choice is None else choice.to_json()
        engines = {plan.name: _refusal(plan) for plan in plans(artifact)}
        unstable = {e.name: names for e in ENGINES if (names := _unstable(artifact, e))}
        here = {
            "batch_dependent_here": unstable,
            "verified": True,
            "tuned": tuned,
            "engines_refused_here": engines,
            "native": _native(artifact),
            "activation_scales": _scales(artifact),
        }
        print_json({**content, "quality": quality, **here})
    else:
        show(describe(artifact, quality))


def describe(artifact: Artifact, quality: dict[str, Any]) -> str:
    """Describe the artifact in words and tables.

    Raises:
        ArtifactError: Its free fields hold what no export writes.
    """
    try:
        return _described(artifact, quality)
    except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError) as error:
        if isinstance(error, LannerError):
            raise
        msg = (
            f"{artifact.directory} says of itself what 'lanner export' does not write "
            f"({repr(error)[:300]}): export again"
        )
        raise ArtifactError(msg) from None


def _described(artifact: Artifact, quality: dict[str, Any]) -> str:
    manifest = artifact.manifest
    try:
        variant, engine, device = select(artifact)
        where = "" if device == "cpu" else ", on its GPU"
        picked = f"{variant.name} in {engine} on this machine{where}"
    except (VariantError, EngineError):  # each depends on its batch: never the default
        picked = "none on this machine: name a variant"
    except MissingExtraError:
        picked = f"{artifact.choose().name}; no engine is installed"
    tuned, scales = _stored(artifact), _scales(artifact)
    size_bytes = sum(record.bytes for record in manifest.files.values())
    header: list[tuple[object, ...]] = [("variant", "opset", "fused operators", "")]
    variants: list[tuple[object, ...]] = [
        (label, variant.opset, _fused(variant), purpose_sentence(variant))
        for label, variant in every_variant(manifest)
    ]
    title = f"{manifest.name}: {manifest.head}, {transformer_sentence(manifest)}"
    prompts = [name for name, text in manifest.prompts.items() if text]
    pooling = manifest.source.get("pooling")  # of a transformer's vectors alone
    trimmed = trimming_sentence(manifest)
    source = manifest.source.get("checkpoint", "a checkpoint")
    versions = ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
    return "\n".join(
        [
            title,
            f"  answers     {answer_sentence(manifest)}",
            f"  longest     {longest_sentence(manifest)}",
            *([f"  pooling     {pooling}"] if pooling else []),
            f"  prompts     {', '.join(prompts) or 'none'}",
            f"  made from   {source} on {manifest.created}",
            *([f"  trimmed to  {trimmed}"] if trimmed else []),
            *_ways(manifest),
            *_lines(f"  made with   {versions}", indent=14),
            f"  files       {len(manifest.files) + 1}, {size(size_bytes)}, checksums verified",
            f"  default     {picked}",
            *_lines(f"  native      {_native_sentence(artifact)}", indent=14),
            *(_lines(f"  scales      {_scales_sentence(artifact)}", indent=14) if scales else []),
            *(_lines(f"  tuned       {tuned}", indent=14) if tuned else []),
            "",
            table(header + variants),
            *_engines(artifact),
            *_quantization(manifest),
            *_dependence(manifest),
            "",
            *_quality(QualityCard(manifest, manifest.files, quality)),
        ]
    )


def every_variant(manifest: Manifest) -> Iterator[tuple[str, Variant]]:
    """Yield the variants of all ways, with their names and, of other ways, the task."""
    yield from ((variant.name, variant) for variant in manifest.variants)
    for task, way in manifest.ways.items():
        yield from ((f"{variant.name} of {task}", variant) for variant in way.variants)


def way_sentences(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """Yield each task whose texts take a way of their own, and a description of the way."""
    for task in manifest.tasks:
        way = manifest.of_way(task)
        pooling, trimmed = way.source.get("pooling"), trimming_sentence(way)
        parts = [transformer_sentence(way), longest_sentence(way)]
        parts += [f"pooling {pooling}"] if pooling else []
        parts += [f"trimmed to {trimmed}"] if trimmed else []
        parts += ["the default"] if task == manifest.task else []
        yield task, "; ".join(parts)


def _ways(manifest: Manifest) -> Iterator[str]:
    if manifest.ways:
        for task, sentence in way_sentences(manifest):
            yield from _lines(f"  {task:<12}{sentence}", indent=14)


def _stored(artifact: Artifact) -> Choice | None:
    """Return the choice of `lanner tune` for this machine with all allowed cores, or None."""
    return stored_choice(artifact, threads=available_cores())


def _engines(artifact: Artifact) -> Iterator[str]:
    """Yield a line for each TensorRT engine: its build, and whether it runs here."""
    for plan in plans(artifact):
        build = plan.build
        if build is None:
            continue
        shapes = [f"{batch} x {length}" for batch, length in (p.largest for p in build.profiles)]
        refusal = _refusal(plan)
        here = f"does not run here: {refusal}" if refusal else "runs here"
        yield from _lines(
            f"{plan.name}: built for {build.gpu} (compute capability {build.compute_capability}) "
            f"with TensorRT {build.tensorrt}, profiles up to {', '.join(shapes)}; {here}",
            indent=2,
        )


def _refusal(plan: Variant) -> str:
    return "" if plan.build is None else refusal_here(plan.build)


def _quantization(manifest: Manifest) -> Iterator[str]:
    """Yield lines for each quantized variant: its calibration, and its float32 products."""
    for variant in manifest.variants:
        if calibrated := calibration_sentence(variant):
            yield from _lines(f"{variant.name}: calibrated on {calibrated}", indent=2)
        if kept := float32_sentence(variant):
            yield from _lines(f"{variant.name}: products in float32: {kept}", indent=2)


def _dependence(manifest: Manifest) -> Iterator[str]:
    """Yield a line for each engine and variant whose answers depend on the batch here."""
    for engine in ENGINES:
        for variant in manifest.variants:
            if reason := engine.batch_dependence(variant):
                yield from _lines(f"{variant.name} in {engine.name}: {reason}", indent=2)


def _unstable(artifact: Artifact, engine: EngineRecord) -> list[str]:
    """Return the variants whose answers depend on the batch in an engine here."""
    return [v.name for v in artifact.manifest.variants if engine.batch_dependence(v)]


def _native(artifact: Artifact) -> dict[str, str]:
    """Return the variants and why the native engine does not run them: empty if it does."""
    return {
        variant.name: NATIVE.refuse_graph(verified_model(artifact, variant))
        for variant in artifact.manifest.variants
        if _is_graph(variant) and variant.precision in _NATIVE_PRECISIONS
    }


def _scales(artifact: Artifact) -> dict[str, str]:
    """Return where each engine for CPUs has the scales of int8 activations from."""
    if artifact.manifest.variant("int8") is None:
        return {}
    engines = [e for e in ENGINES if e.runs_graphs and e.only_precision in ("", "int8")]
    return {e.name: e.scales for e in engines}


def _scales_sentence(artifact: Artifact) -> str:
    scales = _scales(artifact)
    by_token = [name for name, kind in scales.items() if kind == "token"]
    static = [name for name, kind in scales.items() if kind == "static"]
    return f"{', '.join(by_token)}: one for each token; {', '.join(static)}: the artifact's"


def _native_sentence(artifact: Artifact) -> str:
    reasons = _native(artifact)
    runs = [name for name, reason in reasons.items() if not reason]
    refused = next((reason for reason in reasons.values() if reason), "no variant is fp32 or int8")
    if not runs:
        return f"none: {refused}"
    usual = "auto takes it for int8" if "int8" in runs else "auto takes it for int8 alone"
    return f"runs {', '.join(runs)}; {_native_reason() or usual}"


def _native_reason() -> str:
    """Return the reason why ``"auto"`` takes the native engine for no artifact here, or nothing."""
    if not NATIVE.is_installed:
        return "lanner-native is not installed"
    reason = NATIVE.slow_here()
    return f"auto does not take it, since {reason}" if reason else ""


def _is_graph(variant: Variant) -> bool:
    engine = find_engine(variant.engine)
    return engine is not None and engine.runs_graphs


def _fused(variant: Variant) -> str:
    found = [f"{name} {count}" for name, count in variant.fused_ops.items()]
    return ", ".join(found) or ("none" if _is_graph(variant) else "its own")


def purpose_sentence(variant: Variant) -> str:
    """Return the purpose of a variant that is not for CPUs; otherwise an empty string."""
    engine = find_engine(variant.engine)
    if not _is_graph(variant):
        return f"for {variant.engine if engine is None else engine.title}"
    # Its quality was measured on a graph that rounds like a GPU.
    return "for GPUs; quality emulated" if variant.precision in HALF_PRECISIONS else ""


def transformer_sentence(manifest: Manifest) -> str:
    """Describe the checkpoint of an artifact in a few words."""
    architecture = manifest.architecture
    parameters = f"{architecture.parameters / 1e6:.1f} M parameters"
    if architecture.layers == 0:
        parts = manifest.tokenizer.parts
        buckets = 0 if parts is None else parts.buckets
        words = f"{architecture.vocabulary_size - buckets:,} words"
        if buckets:
            words += f" and {buckets:,} rows for parts of words"
        if (segmenter := manifest.tokenizer.segmenter) is not None:
            words += f", split by {segmenter.name} {segmenter.version}"
        return f"{architecture.model_type} of {words}, {parameters}"
    return f"{architecture.model_type}, {architecture.layers} layers, {parameters}"


def trimming_sentence(manifest: Manifest) -> str:
    """Describe the trimming of a checkpoint; empty if nothing was trimmed."""
    parts = []
    if layers := manifest.trimming.get("layers"):
        parts.append(f"layers {', '.join(map(str, layers['kept']))} (of {layers['of']})")
    if tokens := manifest.trimming.get("tokens"):
        kept = f"{tokens['kept']:,} of {tokens['of']:,} tokens"
        parts.append(f"{kept} (those of {tokens['corpus']}, and single characters)")
    if dimensions := manifest.trimming.get("dimensions"):
        parts.append(f"the first {dimensions['kept']} of {dimensions['of']} dimensions")
    return "; ".join(parts)


def longest_sentence(manifest: Manifest) -> str:
    """Describe the longest input, and the handling of longer ones."""
    limit = manifest.tokenizer.max_tokens
    if limit is None:
        return "no limit"
    end = (
        "longer texts are read in windows"
        if manifest.head_record.reads_windows
        else "longer texts are cut"
    )
    return f"{limit} tokens, {end}"


def answer_sentence(manifest: Manifest) -> str:
    """Describe the output of an artifact in a few words."""
    labels = ", ".join(manifest.labels[:_MOST_LABELS])
    if len(manifest.labels) > _MOST_LABELS:
        labels += f", ... ({len(manifest.labels)} labels)"
    record = manifest.head_record
    if record.answers_vectors:
        what = f"{record.noun} of {manifest.dimension} dimensions"
        if record.answer is AnswerKind.TERMS:
            what = f"{record.noun}, {manifest.dimension:,} of them"
        return f"{what}, compared by {manifest.similarity}"
    if record.answer is AnswerKind.NUMBER:
        of = "" if manifest.scored_label is None else f" of {manifest.scored_label!r}"
        return f"{record.noun} ({manifest.activation}{of})"
    many = ", any number at once" if manifest.activation == "sigmoid" else ""
    return f"{record.noun}{many}: {labels}"


def _quality(card: QualityCard) -> Iterator[str]:
    """Yield the measurements: tables, each with a title."""
    for section in card.sections():
        yield from _lines(f"{section.title}:")
        yield table(section.rows) + "\n"
    if lines := card.worst_lines():
        yield f"{card.worst_title}:"
        yield "\n".join(f"  {line}" for line in lines) + "\n"
    yield from _lines(card.zero_vectors)
    yield from _lines(f"measured on {card.machine}")
    yield from _lines(card.processors)


def _lines(text: str, *, indent: int = 0) -> list[str]:
    return wrap(text, _WIDTH, subsequent_indent=" " * indent, break_on_hyphens=False)
