"""The README of an artifact: what a person should know before using it."""

from collections.abc import Iterable, Mapping
from typing import Any

from lanner.commands.inspect import QUALITY_COLUMNS, quality_rows, spearman_sentence
from lanner.manifest import Manifest

_TEMPLATE = """\
# {name}

A Lanner artifact: {model_type} with {layers} layers and {parameters:.1f} M parameters, made from
`{checkpoint}` on {created}. It turns texts of up to {max_tokens} tokens into vectors of {dimension}
dimensions, compared by {similarity}.

```python
import lanner

model = lanner.load("path/to/this/directory")
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
print(model.similarity(vectors, vectors))
```

## Variants

| variant | file | MB | fused operators | calibrated on |
|---|---|---|---|---|
{variants}

## Quality

Against the checkpoint in its own framework, on {texts} texts ({data}). Batch independence is the
smallest cosine between a text's vector alone and among all the others.

{quality}

{spearman}

Measured on {cpu}. Made with {versions}.
"""


def readme(manifest: Manifest, quality: Mapping[str, Any], sizes: Mapping[str, int]) -> str:
    """The text of README.md.

    Args:
        manifest: The artifact's manifest.
        quality: The content of its quality.json.
        sizes: Bytes of each variant's file.
    """
    variants = [
        (
            f"`{v.name}`",
            f"`{v.file}`",
            f"{sizes[v.name] / 1e6:.1f}",
            ", ".join(f"{name} {count}" for name, count in v.fused_ops.items()),
            f"{v.calibration['texts']} texts: {v.calibration['data']}" if v.calibration else "-",
        )
        for v in manifest.variants
    ]
    return _TEMPLATE.format(
        name=manifest.name,
        model_type=manifest.architecture.model_type,
        layers=manifest.architecture.layers,
        parameters=manifest.architecture.parameters / 1e6,
        checkpoint=manifest.source["checkpoint"],
        created=manifest.created,
        max_tokens=manifest.tokenizer.max_tokens,
        dimension=manifest.dimension,
        similarity=manifest.similarity,
        variants=_markdown(variants),
        texts=quality["texts"],
        data=quality["data"],
        quality=_markdown(
            [QUALITY_COLUMNS, ["---"] * len(QUALITY_COLUMNS), *quality_rows(quality)]
        ),
        spearman=spearman_sentence(quality),
        cpu=quality["machine"]["cpu"],
        versions=", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    )


def _markdown(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
