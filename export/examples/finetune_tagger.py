"""Fine-tunes a tagger of people, places and organisations, exports it, and compares the answers.

Run it with `python export/examples/finetune_tagger.py`; --help shows its options.
"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from transformers import (
    AutoModelForTokenClassification,
    AutoTokenizer,
    DataCollatorForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)

import lanner
from common import (
    BEFORE,
    DATA,
    FP32,
    FRAMEWORK,
    INT8,
    Comparison,
    argument_parser,
    checkpoint_beside,
    prepare,
    split,
    train,
    training_options,
)
from lanner_export.export import export

LABELS = ["O", *(f"{place}-{label}" for label in ("LOC", "ORG", "PER") for place in "BI")]
#: The trainer leaves tokens with this label out of the loss.
IGNORED = -100


class Span(NamedTuple):
    """An entity: its label, and where it begins and ends in characters."""

    label: str
    start: int
    end: int


class Sentence(NamedTuple):
    """A text and its entities, in their order."""

    text: str
    spans: list[Span]


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/entities.lanner", epochs=40)
    args = parser.parse_args(arguments)
    train_rows, validation_rows, held_out = split(read_sentences(DATA / "entities.jsonl"))
    texts = [sentence.text for sentence in held_out]

    prepare()
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    model = AutoModelForTokenClassification.from_pretrained(
        args.base,
        id2label=dict(enumerate(LABELS)),
        label2id={label: n for n, label in enumerate(LABELS)},
    )
    found = {BEFORE: framework_spans(model, tokenizer, texts)}

    checkpoint = checkpoint_beside(args.output)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_rows), learning_rate=2e-4, batch=4
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**options),
            train_dataset=[features(tokenizer, sentence) for sentence in train_rows],
            eval_dataset=[features(tokenizer, sentence) for sentence in validation_rows],
            data_collator=DataCollatorForTokenClassification(tokenizer),
            processing_class=tokenizer,
        )
        train(trainer)
        trainer.save_model(str(checkpoint))  # with its tokenizer
    found[FRAMEWORK] = framework_spans(*saved(checkpoint), texts)

    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        answers = lanner.load(artifact.directory, variant=variant).tag(texts)
        found[column] = [[Span(e.label, e.start, e.end) for e in entities] for entities in answers]
    expected = [sentence.spans for sentence in held_out]
    return Comparison(
        texts,
        list(map(in_words, texts, expected)),
        {name: list(map(in_words, texts, spans)) for name, spans in found.items()},
        "held-out entity F1",
        {name: entity_f1(spans, expected) for name, spans in found.items()},
    )


def read_sentences(path: Path) -> list[Sentence]:
    """A file with a sentence and its entities in every line."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [
        Sentence(row["text"], [Span(e["label"], e["start"], e["end"]) for e in row["entities"]])
        for row in rows
    ]


def features(tokenizer: Any, sentence: Sentence) -> dict[str, Any]:
    """Token ids, and for every token the label of the entity that it begins or continues."""
    encoded = tokenizer(sentence.text, truncation=True, return_offsets_mapping=True)
    offsets = encoded.pop("offset_mapping")
    labels = [bio_label(sentence.spans, start, end) for start, end in offsets]
    return {**encoded, "labels": labels}


def bio_label(spans: Sequence[Span], start: int, end: int) -> int:
    """The number of the label of the token at these characters."""
    if start == end:  # a special token
        return IGNORED
    for span in spans:
        if span.start <= start < span.end:
            return LABELS.index(f"{'B' if start == span.start else 'I'}-{span.label}")
    return LABELS.index("O")


def saved(checkpoint: Path) -> tuple[Any, Any]:
    """The model and the tokenizer as whoever gets the checkpoint loads them."""
    model = AutoModelForTokenClassification.from_pretrained(checkpoint)
    return model, AutoTokenizer.from_pretrained(checkpoint)


def framework_spans(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[list[Span]]:
    """Return the answers of transformers itself."""
    tag = pipeline(
        "token-classification",
        model=model,
        tokenizer=tokenizer,
        aggregation_strategy="simple",
        device="cpu",
    )
    return [[Span(e["entity_group"], e["start"], e["end"]) for e in tag(text)] for text in texts]


def in_words(text: str, spans: Sequence[Span]) -> str:
    """The entities as they are shown: 'PER Ana Sousa, LOC Porto'."""
    return ", ".join(f"{span.label} {text[span.start : span.end]}" for span in spans) or "-"


def entity_f1(found: Sequence[Sequence[Span]], expected: Sequence[Sequence[Span]]) -> float:
    """Of the entities as a whole: one counts as found where label, start and end are right."""
    right = sum(len(set(ours) & set(theirs)) for ours, theirs in zip(found, expected, strict=True))
    return 2 * right / (sum(map(len, found)) + sum(map(len, expected)))


if __name__ == "__main__":
    print(main())
