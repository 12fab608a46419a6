"""Answers customers from an FAQ: a bi-encoder recalls answers, a cross-encoder reranks them.

    python export/examples/answer_faq.py
    python export/examples/answer_faq.py --encoder build/faq-encoder.lanner

The bi-encoder is the base itself, or the artifact that finetune_sentence_bert.py made; the
cross-encoder is fine-tuned here, on the right answers and on wrong ones that the bi-encoder takes
for right.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss

import lanner
from common import (
    FP32,
    FRAMEWORK,
    INT8,
    Comparison,
    argument_parser,
    checkpoint_beside,
    prepare,
    read_csv,
    share_right,
    train,
    training_options,
)
from lanner.commands.common import table
from lanner_export.export import export

RECALL = "recall alone"
#: How many answers the bi-encoder recalls for the cross-encoder to rank.
CANDIDATES = 5
#: How many wrong answers stand against each right one in training.
NEGATIVES = 5
#: How many questions are shown with what was found.
SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/faq-scorer.lanner", epochs=8)
    parser.add_argument(
        "--encoder", type=Path, help="artifact of a bi-encoder; without one, one is made of --base"
    )
    args = parser.parse_args(arguments)
    faq, questions = read_csv("faq.csv"), read_csv("faq_questions.csv")
    titles = [row["question"] for row in faq]
    corpus = [f"{row['question']} {row['answer']}" for row in faq]
    held_out = [row for row in questions if row["split"] == "test"]
    texts = [row["question"] for row in held_out]
    expected = [titles[int(row["faq"])] for row in held_out]

    prepare()
    if args.encoder is None:
        args.encoder = args.output.with_name("faq-base.lanner")
        export(args.base, args.encoder, overwrite=True)
    encoder = lanner.load(args.encoder, variant="fp32")
    answer_vectors = encoder.encode_document(corpus)

    def recall(queries: list[str], k: int) -> Any:
        return encoder.search(encoder.encode_query(queries), answer_vectors, k=k).indices

    def pairs(part: str) -> Dataset:
        rows = [row for row in questions if row["split"] == part]
        near = recall([row["question"] for row in rows], NEGATIVES + 1)
        return Dataset.from_list(
            [
                {"query": row["question"], "answer": corpus[n], "label": float(n == right)}
                for row, recalled in zip(rows, near, strict=True)
                for right in [int(row["faq"])]
                for n in [right, *recalled[recalled != right][:NEGATIVES]]
            ]
        )

    checkpoint = checkpoint_beside(args.output)
    fine_tune(args, pairs("train"), pairs("validation"), checkpoint)

    columns = {RECALL: [titles[n] for n in recall(texts, 1)[:, 0]]}
    reference = CrossEncoder(str(checkpoint), device="cpu")
    columns[FRAMEWORK] = [
        titles[near[np.argmax(reference.predict([(text, corpus[n]) for n in near]))]]
        for text, near in zip(texts, recall(texts, CANDIDATES), strict=True)
    ]
    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        scorer = lanner.load(artifact.directory, variant=variant)
        hits = lanner.retrieve(encoder, scorer, texts, corpus, k=3, candidates=CANDIDATES)
        columns[column] = [titles[best.index] for best, *_ in hits]
    print(answers(texts[3 :: len(texts) // SHOWN], encoder, scorer, corpus, titles))
    scores = {name: share_right(found, expected) for name, found in columns.items()}
    if scores[FRAMEWORK] < scores[RECALL]:
        print(
            "\nReranking hurts here: this cross-encoder has seen too few pairs. For a service start"
            " from one that\nwas trained on many questions, and compare on held-out ones as below."
        )
    return Comparison(texts, expected, columns, "held-out top-1", scores)


def fine_tune(args: Any, train_pairs: Dataset, validation_pairs: Dataset, checkpoint: Path) -> None:
    """Makes a cross-encoder of the base, to give right pairs a 1 and wrong ones a 0."""
    model = CrossEncoder(str(args.base), num_labels=1)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_pairs), learning_rate=2e-4, batch=16
        )
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(**options),
            train_dataset=train_pairs,
            eval_dataset=validation_pairs,
            # As much weight for the right pairs together as for the wrong ones.
            loss=BinaryCrossEntropyLoss(model, pos_weight=torch.tensor(float(NEGATIVES))),
        )
        train(trainer)
        model.save_pretrained(str(checkpoint))


def answers(
    queries: Sequence[str],
    encoder: Any,
    scorer: Any,
    corpus: Sequence[str],
    titles: Sequence[str],
) -> str:
    """A few questions, what is found, and what the two models say of it."""
    rows: list[list[object]] = [["rerank", "recall", "question, and what answers it"]]
    for query, hits in zip(
        queries,
        lanner.retrieve(encoder, scorer, queries, corpus, k=3, candidates=CANDIDATES),
        strict=True,
    ):
        rows.append(["", "", query])
        rows += [
            [f"{hit.score:.3f}", f"{hit.similarity:.3f}", f"  {titles[hit.index]}"] for hit in hits
        ]
    return f"\n{table(rows)}"


if __name__ == "__main__":
    print(main())
