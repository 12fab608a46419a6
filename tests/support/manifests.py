"""A hand-written manifest, for tests that need no files."""

from dataclasses import replace
from typing import Any

from lanner.artifact.manifest import Architecture, Manifest, TokenizerRecord, Variant

FP32 = Variant("fp32", "fp32", "model.fp32.onnx", "onnxruntime", 23, {})
INT8 = Variant("int8", "int8", "model.int8.onnx", "onnxruntime", 23, {})


def manifest(head: str = "embed", *, max_tokens: int | None = 4, **changes: Any) -> Manifest:
    """Return the manifest of a model with ten tokens; a head with logits has three labels."""
    made = Manifest(
        name="words",
        head=head,
        architecture=Architecture("bert", 1, 1, 4, 10, 40),
        dimension=4,
        similarity="cosine",
        tokenizer=TokenizerRecord("tokenizer.json", max_tokens, 0),
        inputs=["input_ids", "attention_mask"],
        outputs=["sentence_embedding"],
        variants=[FP32, INT8],
        source={},
        versions={},
        created="2026-01-01T00:00:00Z",
    )
    if head != "embed":
        logits = {"dimension": 3, "outputs": ["logits"], "labels": list("xyz"), "similarity": ""}
        made = replace(made, **logits)  # type: ignore[arg-type]
    return replace(made, **changes)
