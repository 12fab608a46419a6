"""The README of an artifact: what a person should know before using it."""

from collections.abc import Iterable, Mapping
from typing import Any

from lanner.commands.inspect import (
    answer_sentence,
    longest_sentence,
    quality_rows,
    spearman_sentence,
    transformer_sentence,
    trimming_sentence,
    variant_bytes,
)
from lanner.manifest import FileRecord, Manifest

_TEMPLATE = """\
# {name}

A Lanner artifact: {transformer}, made from `{checkpoint}` on {created}.

- Head `{head}`: {answers}.
- Longest input: {longest}.{trimming}

```python
import lanner

model = lanner.load("path/to/this/directory")
{example}
```

## Variants

| variant | file | MB | fused operators | calibrated on |
|---|---|---|---|---|
{variants}

## Quality

Against the checkpoint in its own framework, on {texts} texts ({data}). {independence}

{quality}

{spearman}

Measured on {cpu}. Made with {versions}.
"""

_EXAMPLES = {
    "embed": """\
vectors = model.encode(["A plane is taking off.", "An air plane is taking off."])
print(model.similarity(vectors, vectors))""",
    "score": """\
print(model.score([("A plane is taking off.", "An air plane is taking off.")]))""",
    "classify": """\
print(model.classify(["A plane is taking off."], top_k=3))""",
    "tag": """\
print(model.tag(["Ada Lovelace was born in London."]))""",
}
_INDEPENDENCE = {
    "embed": """\
Batch independence is the
smallest cosine between a text's vector alone and among all the others.""",
    "logits": """\
Batch dependence
is the largest difference of a score between a text alone and among all the others.""",
}


def readme(manifest: Manifest, quality: Mapping[str, Any], files: Mapping[str, FileRecord]) -> str:
    """The text of README.md.

    Args:
        manifest: The artifact's manifest.
        quality: The content of its quality.json.
        files: The files of its variants.
    """
    variants = [
        (
            f"`{v.name}`",
            f"`{v.file}`",
            f"{variant_bytes(files, v) / 1e6:.1f}",
            ", ".join(f"{name} {count}" for name, count in v.fused_ops.items()),
            f"{v.calibration['texts']} texts: {v.calibration['data']}" if v.calibration else "-",
        )
        for v in manifest.variants
    ]
    titles, *rows = quality_rows(quality)
    trimmed = trimming_sentence(manifest)
    return _TEMPLATE.format(
        name=manifest.name,
        transformer=transformer_sentence(manifest),
        checkpoint=manifest.source["checkpoint"],
        created=manifest.created,
        head=manifest.head,
        answers=answer_sentence(manifest),
        longest=longest_sentence(manifest),
        trimming=f"\n- Trimmed to {trimmed}." if trimmed else "",
        example=_EXAMPLES[manifest.head],
        independence=_INDEPENDENCE["embed" if manifest.head == "embed" else "logits"],
        variants=_markdown(variants),
        texts=quality["texts"],
        data=quality["data"],
        quality=_markdown([titles, ["---"] * len(titles), *rows]),
        spearman=spearman_sentence(quality),
        cpu=quality["machine"]["cpu"],
        versions=", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    )


def _markdown(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
