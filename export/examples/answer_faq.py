"""Answers customers from an FAQ: a bi-encoder recalls answers, a cross-encoder reranks them.

    python export/examples/answer_faq.py
    python export/examples/answer_faq.py --encoder build/faq-encoder.lanner

The bi-encoder is the base itself, or the artifact that finetune_sentence_bert.py made. The
cross-encoder is fine-tuned here, to rank what the bi-encoder recalls: the right answer first where
it is known, and as the bi-encoder ranks them where it is not. It reads the question of an FAQ
without the answer, which makes a pair a third as long.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from datasets import Dataset
from sentence_transformers import (
    CrossEncoder,
    CrossEncoderTrainer,
    CrossEncoderTrainingArguments,
)
from sentence_transformers.cross_encoder.losses import ListNetLoss

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
    read_faq,
    read_questions,
    share_right,
    train,
    training_options,
)
from lanner.commands.console import table
from lanner_export.export import export

RECALL = "recall alone"
#: How many answers the bi-encoder recalls for the cross-encoder to rank.
CANDIDATES = 5
#: How many of them it is trained to rank.
LISTED = 8
#: What a similarity is multiplied by: the softmax of a list is then what to learn of it.
SHARPNESS = 20.0
#: What is added where the right answer is known: it outweighs most similarities.
CERTAIN = 5.0
#: How many questions are shown with what was found.
SHOWN = 5


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/faq-scorer.lanner", epochs=3)
    parser.add_argument(
        "--encoder", type=Path, help="artifact of a bi-encoder; without one, one is made of --base"
    )
    args = parser.parse_args(arguments)
    titles, corpus = read_faq()
    texts, answered_by = read_questions("test")
    expected = [titles[n] for n in answered_by]

    prepare()
    if args.encoder is None:
        args.encoder = args.output.with_name("faq-base.lanner")
        export(args.base, args.encoder, overwrite=True)
    encoder = lanner.load(args.encoder, variant="fp32")
    answer_vectors = encoder.encode_document(corpus)

    def recall(queries: list[str], k: int) -> Any:
        return encoder.search(encoder.encode_query(queries), answer_vectors, k=k)

    def lists(queries: list[str], answers: Sequence[int | None]) -> list[dict[str, Any]]:
        rows = []
        found = recall(queries, len(titles))
        for query, answer, order, similarities in zip(
            queries, answers, found.indices, found.scores, strict=True
        ):
            scores = SHARPNESS * similarities + CERTAIN * (order == answer)
            listed = np.argsort(-scores)[:LISTED]
            documents = [titles[n] for n in order[listed]]
            rows.append({"query": query, "documents": documents, "labels": scores[listed].tolist()})
        return rows

    # What customers wrote of other things stands for questions that nobody has answered yet.
    unanswered = [row["text"] for row in read_csv("intents.csv")]
    train_lists = lists(*read_questions("train")) + lists(unanswered, [None] * len(unanswered))
    checkpoint = checkpoint_beside(args.output)
    fine_tune(args, train_lists, lists(*read_questions("validation")), checkpoint)

    columns = {RECALL: [titles[n] for n in recall(texts, 1).indices[:, 0]]}
    reference = CrossEncoder(str(checkpoint), device="cpu")
    columns[FRAMEWORK] = [
        titles[near[np.argmax(reference.predict([(text, titles[n]) for n in near]))]]
        for text, near in zip(texts, recall(texts, CANDIDATES).indices, strict=True)
    ]
    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        scorer = lanner.load(artifact.directory, variant=variant)
        # The encoder recalls by the whole answer, and the scorer reads the question alone.
        hits = lanner.retrieve(
            encoder,
            scorer,
            texts,
            titles,
            k=3,
            candidates=CANDIDATES,
            corpus_vectors=answer_vectors,
        )
        columns[column] = [best.text for best, *_ in hits]
    shown = slice(3, None, len(texts) // SHOWN)
    print(answers(texts[shown], hits[shown]))
    scores = {name: share_right(found, expected) for name, found in columns.items()}
    if scores[FRAMEWORK] < scores[RECALL]:
        print(
            "\nReranking hurts here: this cross-encoder has seen too few pairs. For a service start"
            " from one that\nwas trained on many questions, and compare on held-out ones as below."
        )
    return Comparison(texts, expected, columns, "held-out top-1", scores)


def fine_tune(
    args: Any,
    train_lists: list[dict[str, Any]],
    validation_lists: list[dict[str, Any]],
    checkpoint: Path,
) -> None:
    """Make a cross-encoder of the base, to rank lists of documents as their labels do."""
    model = CrossEncoder(str(args.base), num_labels=1)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_lists), learning_rate=1e-4, batch=4
        )
        trainer = CrossEncoderTrainer(
            model=model,
            args=CrossEncoderTrainingArguments(**options),
            train_dataset=Dataset.from_list(train_lists),
            eval_dataset=Dataset.from_list(validation_lists),
            loss=ListNetLoss(model, mini_batch_size=-1),  # all pairs of a batch at once
        )
        train(trainer)
        model.save_pretrained(str(checkpoint))


def answers(queries: Sequence[str], found: Sequence[Sequence[lanner.Hit]]) -> str:
    """A few questions, what is found, and what the two models say of it."""
    rows: list[list[object]] = [["rerank", "recall", "question, and what answers it"]]
    for query, hits in zip(queries, found, strict=True):
        rows.append(["", "", query])
        rows += [[f"{hit.score:.3f}", f"{hit.similarity:.3f}", f"  {hit.text}"] for hit in hits]
    return f"\n{table(rows)}"


if __name__ == "__main__":
    print(main())
