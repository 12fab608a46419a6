"""Drops layers of a Sentence-BERT, wins most of the loss back by a short distillation, exports it.

The teacher is the whole model, the student some of its layers. The student learns the teacher's
vectors of unlabelled texts, here the shipped sentences: give texts like those of your service with
--texts, as many as you have. Run it with `python export/examples/distill_layers.py`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MSELoss

import lanner
from common import (
    BEFORE,
    FP32,
    FRAMEWORK,
    INT8,
    argument_parser,
    checkpoint_beside,
    prepare,
    train,
    training_options,
)
from lanner.commands.console import table
from lanner.commands.options import positive
from lanner.files.texts import read_texts, shipped_sentences
from lanner_export.export import export
from lanner_export.trim.layers import keep_layers

TEACHER = "teacher"


def main(arguments: Sequence[str] | None = None) -> dict[str, float]:
    """Return the mean cosine to the teacher's vectors of held-out texts, by the name of a model."""
    parser = argument_parser(__doc__, output="build/distilled.lanner", epochs=10)
    parser.add_argument("--keep-layers", type=positive, default=3, help="layers of the student")
    parser.add_argument("--texts", type=Path, help="texts to learn from (.txt, .csv, .jsonl)")
    args = parser.parse_args(arguments)

    prepare()
    texts = shipped_sentences() if args.texts is None else list(read_texts(str(args.texts)))
    # Of ten texts eight to train on, one to stop early by, and one to measure on.
    parts = [[text for n, text in enumerate(texts) if n % 10 in which] for which in _PARTS]
    train_texts, validation_texts, held_out = parts
    teacher = SentenceTransformer(str(args.base), device="cpu")
    expected = teacher.encode(held_out)

    student = SentenceTransformer(str(args.base), device="cpu")
    keep_layers(student[0].auto_model, args.keep_layers, str(args.base))
    cosines = {BEFORE: mean_cosine(student.encode(held_out), expected)}

    def taught(some: list[str]) -> Dataset:
        return Dataset.from_dict({"sentence": some, "label": teacher.encode(some).tolist()})

    checkpoint = checkpoint_beside(args.output)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_texts), learning_rate=1e-4, batch=32
        )
        trainer = SentenceTransformerTrainer(
            model=student,
            args=SentenceTransformerTrainingArguments(**options),
            train_dataset=taught(train_texts),
            eval_dataset=taught(validation_texts),
            loss=MSELoss(student),
        )
        train(trainer)
        student.save_pretrained(str(checkpoint))
    saved = SentenceTransformer(str(checkpoint), device="cpu")
    cosines[FRAMEWORK] = mean_cosine(saved.encode(held_out), expected)

    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        vectors = lanner.load(artifact.directory, variant=variant).encode(held_out)
        cosines[column] = mean_cosine(vectors, expected)
    return cosines


_PARTS = (range(8), (8,), (9,))


def mean_cosine(vectors: Any, expected: Any) -> float:
    """Return the mean cosine of rows."""
    a, b = (np.asarray(one, np.float64) for one in (vectors, expected))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return float(np.mean((a * b).sum(axis=1) / np.where(lengths == 0, 1, lengths)))


if __name__ == "__main__":
    found = main()
    print(table([("", "mean cosine to the teacher"), *((n, f"{v:.4f}") for n, v in found.items())]))
