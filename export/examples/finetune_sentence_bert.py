"""Fine-tunes a Sentence-BERT to find the answers of an FAQ, exports it, and compares what it finds.

Run it with `python export/examples/finetune_sentence_bert.py`; --help shows its options.
"""

import tempfile
from collections.abc import Sequence
from typing import Any, Protocol

from datasets import Dataset
from sentence_transformers import (
    SentenceTransformer,
    SentenceTransformerTrainer,
    SentenceTransformerTrainingArguments,
)
from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

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
    read_faq,
    read_questions,
    share_right,
    train,
    training_options,
)
from lanner.vectors.similarity import search
from lanner_export.export import export


class Encoder(Protocol):
    """A model of Lanner, or of sentence-transformers: both encode."""

    def encode(self, sentences: list[str]) -> Any: ...


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/faq-encoder.lanner", epochs=20)
    args = parser.parse_args(arguments)
    titles, corpus = read_faq()
    texts, answered_by = read_questions("test")
    expected = [titles[n] for n in answered_by]

    def best_titles(encoder: Encoder) -> list[str]:
        nearest = search(encoder.encode(texts), encoder.encode(corpus), k=1)
        return [titles[index] for index in nearest.indices[:, 0]]

    def pairs(part: str) -> Dataset:
        asked, answered_by = read_questions(part)
        positives = [corpus[n] for n in answered_by]
        return Dataset.from_dict({"anchor": asked, "positive": positives})

    prepare()
    model = SentenceTransformer(str(args.base))
    columns = {BEFORE: best_titles(model)}

    checkpoint = checkpoint_beside(args.output)
    with tempfile.TemporaryDirectory() as directory:
        train_pairs = pairs("train")
        options = training_options(
            args, directory, examples=len(train_pairs), learning_rate=5e-5, batch=20
        )
        trainer = SentenceTransformerTrainer(
            model=model,
            # Every other pair of a batch is a negative, so no answer may be in it twice.
            args=SentenceTransformerTrainingArguments(**options, batch_sampler="no_duplicates"),
            train_dataset=train_pairs,
            eval_dataset=pairs("validation"),
            loss=MultipleNegativesRankingLoss(model),
        )
        train(trainer)
        model.save_pretrained(str(checkpoint))
    columns[FRAMEWORK] = best_titles(SentenceTransformer(str(checkpoint), device="cpu"))

    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        columns[column] = best_titles(lanner.load(artifact.directory, variant=variant))
    scores = {name: share_right(answers, expected) for name, answers in columns.items()}
    return Comparison(texts, expected, columns, "held-out top-1 recall", scores)


if __name__ == "__main__":
    print(main())
