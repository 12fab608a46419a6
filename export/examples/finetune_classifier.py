"""Fine-tunes a classifier of customers' intents, exports it, and compares the answers.

Run it with `python export/examples/finetune_classifier.py`; --help shows its options.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainingArguments,
    pipeline,
)

import lanner
from common import (
    BEFORE,
    FP32,
    FRAMEWORK,
    INT8,
    Comparison,
    argument_parser,
    checkpoint_beside,
    prepare,
    read_csv,
    share_right,
    split,
    train,
    training_options,
)
from lanner_export.export import export


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/intents.lanner", epochs=20)
    args = parser.parse_args(arguments)
    rows = read_csv("intents.csv")
    labels = sorted({row["label"] for row in rows})
    train_rows, validation_rows, held_out = split(rows)
    texts, expected = [row["text"] for row in held_out], [row["label"] for row in held_out]

    prepare()
    tokenizer = AutoTokenizer.from_pretrained(args.base)
    model = AutoModelForSequenceClassification.from_pretrained(
        args.base,
        id2label=dict(enumerate(labels)),
        label2id={label: n for n, label in enumerate(labels)},
    )
    columns = {BEFORE: framework_labels(model, tokenizer, texts)}

    def features(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        return [
            {**tokenizer(row["text"], truncation=True), "labels": labels.index(row["label"])}
            for row in rows
        ]

    checkpoint = checkpoint_beside(args.output)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_rows), learning_rate=2e-4, batch=8
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**options),
            train_dataset=features(train_rows),
            eval_dataset=features(validation_rows),
            data_collator=DataCollatorWithPadding(tokenizer),
            processing_class=tokenizer,
        )
        train(trainer)
        trainer.save_model(str(checkpoint))  # with its tokenizer
    columns[FRAMEWORK] = framework_labels(*saved(checkpoint), texts)

    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        answers = lanner.load(artifact.directory, variant=variant).classify(texts)
        columns[column] = [answer.label for answer in answers]
    scores = {name: share_right(answers, expected) for name, answers in columns.items()}
    return Comparison(texts, expected, columns, "held-out accuracy", scores)


def saved(checkpoint: Path) -> tuple[Any, Any]:
    """The model and the tokenizer as whoever gets the checkpoint loads them."""
    model = AutoModelForSequenceClassification.from_pretrained(checkpoint)
    return model, AutoTokenizer.from_pretrained(checkpoint)


def framework_labels(model: Any, tokenizer: Any, texts: Sequence[str]) -> list[str]:
    """Return the answers of transformers itself."""
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    return [answer["label"] for answer in classify(list(texts), truncation=True)]


if __name__ == "__main__":
    print(main())
