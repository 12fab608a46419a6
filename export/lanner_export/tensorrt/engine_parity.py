"""Parity of a new engine with the fp32 variant, checked before the engine is added."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.engines import Engine, open_engine
from lanner.engines.model_file import verified_model
from lanner.errors import ArtifactError, ParityError
from lanner.loading.load import open_model, open_tokenizer
from lanner.machine.machine import available_cores
from lanner.models.base import Model
from lanner.text.tokenization import Pair, Tokenizer
from lanner_export.quality.comparison import parity_inputs
from lanner_export.quality.measures import (
    RememberedReference,
    agreement_inputs,
    agreement_measures,
    model_answers,
)
from lanner_export.quality.parity import FP16_OVERFLOW, answers, measure_parity
from lanner_export.tensorrt.adding import BuiltEngine
from lanner_export.tensorrt.edges import require_edges

_FP32 = "fp32"
#: Token ids that fill the rows at the edges of profiles.
_EDGE_TOKENS = 2_048
_LONGEST = 2**31
#: The remedy for an engine that differs, by its precision.
_REMEDIES = {
    "fp16": "use --precision bf16 or tf32",
    **dict.fromkeys(("bf16", "tf32"), "use --precision fp16"),
    "fp32": "run that in ONNX Runtime",
    **dict.fromkeys(
        ("int8", "fp8"), "calibrate on texts like yours with --calibration, or use --precision fp16"
    ),
}

Progress = Callable[[str], object]


def compared(
    artifact: Artifact, variant: Variant, path: Path, engine: Engine, progress: Progress
) -> BuiltEngine:
    """Compare an engine with the fp32 variant, and return it with its figures.

    The comparison covers the answers to the texts of the quality card, alone and in one batch, and
    the edges of each profile.

    Args:
        artifact: The artifact.
        variant: The entry for the manifest.
        path: The file of the engine.
        engine: The opened engine.
        progress: Called when a step begins.

    Raises:
        ParityError: The engine differs by more than its tolerance, or depends on the batch.
    """
    manifest, precision = artifact.manifest, variant.precision
    own = fp32_variant(artifact)
    exact = open_engine("onnxruntime", verified_model(artifact, own), threads=available_cores())
    fp32, model = (
        _opened(artifact, described, runs) for described, runs in ((own, exact), (variant, engine))
    )
    tokenizer, profiles = tokenizer_of(artifact), variant.build.profiles if variant.build else []
    longest = max((profile.largest[1] for profile in profiles), default=_LONGEST)
    progress(f"parity of the {precision} engine")
    all_inputs = parity_inputs(manifest.head, takes_pairs=manifest.takes_pairs)
    inputs = _short_enough(tokenizer, all_inputs, longest)
    parity = measure_parity(answers(fp32, inputs, batch_size=1), model, inputs)
    if found := parity.shortfall(precision):
        remedy = FP16_OVERFLOW if precision == "fp16" and found.is_nan else _REMEDIES[precision]
        msg = (
            f"the {precision} engine differs from the fp32 variant: {found.what}; "
            f"{remedy}. It was not added"
        )
        raise ParityError(msg)
    progress(f"the edges of its {len(profiles)} profiles")
    encodings = tokenizer.encode_pairs(inputs, with_types=False)
    tokens = [token for encoding in encodings for token in encoding.ids][:_EDGE_TOKENS]
    require_edges(engine, exact, manifest, precision, profiles, tokens)
    progress(f"agreement of the {precision} engine")
    reference = RememberedReference(lambda wanted: answers(fp32, wanted, batch_size=1))
    several = agreement_inputs(manifest.head, None, takes_pairs=manifest.takes_pairs)
    texts = _short_enough(tokenizer, several, longest)
    given = model_answers(model, texts)
    agreement = {
        measure.name: measure.of_answers(given).value
        for measure in agreement_measures(fp32, reference, texts)
    }
    return BuiltEngine(variant, path, parity.to_json(), agreement)


def fp32_variant(artifact: Artifact) -> Variant:
    """Return the variant that engines are made from and compared with.

    Raises:
        ArtifactError: The artifact has no fp32 variant.
    """
    found = artifact.manifest.variant(_FP32)
    if found is None:
        msg = (
            f"{artifact.directory} holds no fp32 variant to make engines from: export the "
            "checkpoint again with --precision fp32 among others"
        )
        raise ArtifactError(msg)
    return found


def tokenizer_of(artifact: Artifact) -> Tokenizer:
    """Open the tokenizer of an artifact with an encoder."""
    manifest = artifact.manifest
    tokenizer = open_tokenizer(artifact.file(manifest.tokenizer.file), manifest)
    if not isinstance(tokenizer, Tokenizer):
        raise TypeError(type(tokenizer).__name__)
    return tokenizer


def _opened(artifact: Artifact, variant: Variant, engine: Engine) -> Model:
    manifest = artifact.manifest
    tokenizer = artifact.file(manifest.tokenizer.file)
    return open_model(manifest, variant, tokenizer=tokenizer, engine=engine, measures_overflow=True)


def _short_enough(
    tokenizer: Tokenizer, inputs: Sequence[str | Pair], longest: int
) -> list[str | Pair]:
    """Return the inputs of at most `longest` tokens, the engine's longest profile."""
    encodings = tokenizer.encode_pairs(inputs, with_types=False)
    pairs = zip(inputs, encodings, strict=True)
    return [item for item, encoding in pairs if len(encoding.ids) <= longest]
