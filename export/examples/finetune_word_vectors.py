"""Fine-tunes word vectors with a softmax on top to tell intents, exports them, and compares.

The vector of a text is the mean of the vectors of its words, and one layer turns it into labels: no
transformer is needed. The vectors begin as word2vec's, from a file (--base) or from the shipped
texts, and are trained together with the layer. The checkpoint is a pipeline of model2vec.
Run it with `python export/examples/finetune_word_vectors.py`.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gensim.models import KeyedVectors, Word2Vec
from model2vec import StaticModel
from model2vec.inference.mlp import Activation, Layer, MLPHead
from model2vec.inference.model import StaticModelPipeline
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers
from transformers import Trainer, TrainingArguments

import lanner
from common import (
    BEFORE,
    FP32,
    FRAMEWORK,
    INT8,
    SEED,
    Comparison,
    argument_parser,
    checkpoint_beside,
    prepare,
    read_csv,
    read_faq,
    share_right,
    split,
    train,
    training_options,
)
from lanner_export.export import export

PADDING, UNKNOWN = "[PAD]", "[UNK]"
WIDTH = 100


class WordClassifier(torch.nn.Module):
    """A mean of word vectors, and a layer on top of it."""

    def __init__(self, vectors: np.ndarray, labels: int) -> None:
        super().__init__()
        self.words = torch.nn.Embedding.from_pretrained(
            torch.from_numpy(vectors), freeze=False, padding_idx=0
        )
        self.layer = torch.nn.Linear(vectors.shape[1], labels)

    def forward(self, labels: torch.Tensor, input_ids: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the loss and the logits of texts, whose ids are padded with 0."""
        counts = (input_ids != 0).sum(dim=1, keepdim=True).clamp(min=1)
        logits = self.layer(self.words(input_ids).sum(dim=1) / counts)
        return {"loss": torch.nn.functional.cross_entropy(logits, labels), "logits": logits}


def main(arguments: Sequence[str] | None = None) -> Comparison:
    parser = argument_parser(__doc__, output="build/word-intents.lanner", epochs=60)
    parser.set_defaults(base=None)
    args = parser.parse_args(arguments)
    rows = read_csv("intents.csv")
    labels = sorted({row["label"] for row in rows})
    train_rows, validation_rows, held_out = split(rows)
    texts, expected = [row["text"] for row in held_out], [row["label"] for row in held_out]

    prepare()
    known = [row["text"] for row in train_rows]
    tokenizer, vectors = word_vectors(known, args.base)
    model = WordClassifier(vectors, len(labels))
    columns = {BEFORE: framework_labels(pipeline(model, tokenizer, labels), texts)}

    def features(rows: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
        return [
            {"ids": known_ids(tokenizer, row["text"]), "label": labels.index(row["label"])}
            for row in rows
        ]

    checkpoint = checkpoint_beside(args.output)
    with tempfile.TemporaryDirectory() as directory:
        options = training_options(
            args, directory, examples=len(train_rows), learning_rate=5e-3, batch=16
        )
        trainer = Trainer(
            model=model,
            args=TrainingArguments(**options, remove_unused_columns=False),
            train_dataset=features(train_rows),
            eval_dataset=features(validation_rows),
            data_collator=padded,
        )
        train(trainer)
    pipeline(model, tokenizer, labels).save_pretrained(str(checkpoint))
    columns[FRAMEWORK] = framework_labels(
        StaticModelPipeline.from_pretrained(str(checkpoint)), texts
    )

    artifact = export(checkpoint, args.output, overwrite=True)
    for column, variant in ((FP32, "fp32"), (INT8, "int8")):
        answers = lanner.load(artifact.directory, variant=variant).classify(texts)
        columns[column] = [answer.label for answer in answers]
    scores = {name: share_right(answers, expected) for name, answers in columns.items()}
    return Comparison(texts, expected, columns, "held-out accuracy", scores)


def word_vectors(texts: Sequence[str], base: Path | None) -> tuple[Tokenizer, np.ndarray]:
    """Return a tokenizer of words, and their vectors before the fine-tuning, float32 [words, dim].

    Args:
        texts: The texts to train on. Words of theirs that the base lacks begin as small noise.
        base: A file of word2vec, text or .bin; None to make vectors of the shipped texts.
    """
    tokenizer = Tokenizer(models.WordLevel({}, unk_token=UNKNOWN))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()

    def words_of(text: str) -> list[str]:
        lowered = tokenizer.normalizer.normalize_str(text)
        return [word for word, _ in tokenizer.pre_tokenizer.pre_tokenize_str(lowered)]

    if base is None:
        titles, answers = read_faq()
        sentences = [words_of(text) for text in (*titles, *answers, *texts)]
        known = Word2Vec(
            sentences, vector_size=WIDTH, min_count=1, sg=1, epochs=20, seed=SEED, workers=1
        ).wv
    else:
        known = KeyedVectors.load_word2vec_format(str(base), binary=base.suffix == ".bin")
    own = (word for text in texts for word in words_of(text))
    words = dict.fromkeys([PADDING, UNKNOWN, *known.index_to_key, *own])
    draw = np.random.default_rng(SEED)
    vectors = draw.normal(scale=0.01, size=(len(words), known.vector_size)).astype(np.float32)
    vectors[:2] = 0
    for row, word in enumerate(words):
        if word in known:
            vectors[row] = known[word]
    tokenizer.model = models.WordLevel(
        {word: row for row, word in enumerate(words)}, unk_token=UNKNOWN
    )
    return tokenizer, vectors


def known_ids(tokenizer: Tokenizer, text: str) -> list[int]:
    """Return the ids of the words of a text, without unknown words, as model2vec reads them."""
    unknown = tokenizer.token_to_id(UNKNOWN)
    return [one for one in tokenizer.encode(text).ids if one != unknown]


def padded(rows: Sequence[dict[str, Any]]) -> dict[str, torch.Tensor]:
    """Return the tensors of a batch."""
    longest = max(len(row["ids"]) for row in rows)
    ids = [row["ids"] + [0] * (longest - len(row["ids"])) for row in rows]
    return {
        "labels": torch.tensor([row["label"] for row in rows]),
        "input_ids": torch.tensor(ids, dtype=torch.int64),
    }


def pipeline(
    model: WordClassifier, tokenizer: Tokenizer, labels: Sequence[str]
) -> StaticModelPipeline:
    """Return the same classifier as a pipeline of model2vec, whose format is exported."""
    vectors, weight, bias = (
        tensor.detach().numpy().copy()
        for tensor in (model.words.weight, model.layer.weight, model.layer.bias)
    )
    static = StaticModel(vectors, tokenizer, normalize=False)
    head = MLPHead([Layer(weight, bias)], Activation.SOFTMAX, np.array(labels))
    return StaticModelPipeline(static, head)


def framework_labels(classifier: StaticModelPipeline, texts: Sequence[str]) -> list[str]:
    """Return the answers of model2vec itself."""
    return [str(label) for label in classifier.predict(list(texts))]


if __name__ == "__main__":
    print(main())
