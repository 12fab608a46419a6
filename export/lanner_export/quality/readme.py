"""The README of an artifact."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from lanner.artifact.manifest import FileRecord, Manifest
from lanner.artifact.quality_card import QualityCard, calibration_sentence, float32_sentence
from lanner.commands.inspect import (
    answer_sentence,
    every_variant,
    longest_sentence,
    purpose_sentence,
    transformer_sentence,
    trimming_sentence,
    way_sentences,
)

_TEMPLATE = """\
# {name}

A Lanner artifact: {transformer}, made from `{checkpoint}` on {created}.

- Head `{head}`: {answers}.
- Longest input: {longest}.{trimming}{ways}

```python
import lanner

model = lanner.load("path/to/this/directory")
{example}
```

## Variants

| variant | file | fused operators | calibrated on | products in float32 |
|---|---|---|---|---|
{variants}

## Quality

{quality}

Measured on {machine}. Made with {versions}.
{processors}"""


def readme(manifest: Manifest, quality: Mapping[str, Any], files: Mapping[str, FileRecord]) -> str:
    """Return the text of README.md.

    Args:
        manifest: The artifact's manifest.
        quality: The content of quality.json.
        files: The files of the variants.
    """
    variants = [
        (
            " ".join([f"`{label}`", purpose_sentence(v)]).rstrip(),
            f"`{v.file}`",
            ", ".join(f"{name} {count}" for name, count in v.fused_ops.items()),
            calibration_sentence(v) or "-",
            float32_sentence(v) or "-",
        )
        for label, v in every_variant(manifest)
    ]
    trimmed = trimming_sentence(manifest)
    ways = way_sentences(manifest) if manifest.ways else ()
    card = QualityCard(manifest, files, quality)
    return _TEMPLATE.format(
        name=manifest.name,
        transformer=transformer_sentence(manifest),
        checkpoint=manifest.source["checkpoint"],
        created=manifest.created,
        head=manifest.head,
        answers=answer_sentence(manifest),
        longest=longest_sentence(manifest),
        trimming=f"\n- Trimmed to {trimmed}." if trimmed else "",
        ways="".join(f"\n- Texts of the task `{task}`: {sentence}." for task, sentence in ways),
        example=manifest.head_record.example,
        variants=_markdown(variants),
        quality="\n\n".join(_quality(card)),
        machine=card.machine,
        processors=f"\n{card.processors}\n" if card.processors else "",
        versions=", ".join(f"{name} {version}" for name, version in manifest.versions.items()),
    )


def _quality(card: QualityCard) -> Iterator[str]:
    """Yield the paragraphs and tables of the measurements."""
    for title, rows in card.sections():
        yield f"{title[0].upper()}{title[1:]}:"
        titles, *rest = rows
        yield _markdown([titles, ["---"] * len(titles), *rest])
    yield card.meaning
    if card.zero_vectors:
        yield card.zero_vectors
    if lines := card.worst_lines():
        yield f"The {card.worst_title}:"
        yield "\n".join(f"    {line}" for line in lines)


def _markdown(rows: Iterable[Iterable[str]]) -> str:
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)
