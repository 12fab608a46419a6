"""References of static vectors in their own frameworks, which an artifact must reproduce.

Each is loaded at its first call, so that a checkpoint can be read without its framework. Narrow
tables are widened, not rounded: the reference is float32.
"""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lanner.artifact.manifest import WordParts
from lanner.errors import CheckpointError
from lanner.text.word_parts import buckets_of
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.matrix_file import MatrixFile
from lanner_export.graph.quiet import quiet

#: Texts to vectors, float32 [n, dimension].
Reference = Callable[[list[str]], NDArray[np.float32]]


def model2vec_reference(
    directory: Path,
    tokenizer: Path,
    table: LookupTable,
    max_tokens: int | None,
    max_characters: int | None,
) -> Reference:
    """Return the `StaticModel` of model2vec, or the same by numpy if it is not installed.

    Before 0.10, model2vec cut a text after dropping the unknown words, and kept those of Unigram
    tokenizers: older versions cannot be the reference.
    """

    @functools.cache
    def load() -> Reference:
        with quiet():
            model = _static_model(directory)
        if model is None:
            return _by_numpy(tokenizer, table, max_tokens, max_characters)
        return functools.partial(model.encode, max_length=max_tokens, use_multiprocessing=False)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        return np.asarray(load()(texts), np.float32)

    return encode


def sentence_transformers_reference(directory: Path, max_tokens: int | None) -> Reference:
    """Return the `SentenceTransformer`, without its prompts, cutting at the limit."""

    @functools.cache
    def model() -> Any:
        from sentence_transformers import SentenceTransformer  # noqa: PLC0415 (slow)

        try:
            with quiet():
                loaded = SentenceTransformer(
                    str(directory), device="cpu", trust_remote_code=False, local_files_only=True
                )
        except Exception as error:  # whatever the framework met in a foreign directory
            msg = f"sentence-transformers cannot load {directory}: {error}"
            raise CheckpointError(msg) from error
        if max_tokens is not None:
            _limit(loaded[0], max_tokens)
        return loaded.float().eval()

    def encode(texts: list[str]) -> NDArray[np.float32]:
        vectors = model().encode(texts, prompt="", show_progress_bar=False)
        return np.asarray(vectors, np.float32)

    return encode


def word_vectors_reference(words: list[str], rows: MatrixFile, max_tokens: int | None) -> Reference:
    """Return the mean of the rows of words by sentence-transformers' `WhitespaceTokenizer`."""

    @functools.cache
    def tokenizer() -> Any:
        try:
            from sentence_transformers.sentence_transformer.modules.tokenizer import (  # noqa: PLC0415
                WhitespaceTokenizer,
            )
        except ImportError:  # its place in older versions, which later ones warn of
            from sentence_transformers.models.tokenizer import (  # noqa: PLC0415
                WhitespaceTokenizer,
            )
        return WhitespaceTokenizer(words, stop_words=())

    table = LookupTable(rows)
    return lambda texts: mean_rows(
        table, [tokenizer().tokenize(text)[:max_tokens] for text in texts]
    )


def parts_reference(
    words: list[str], rows: MatrixFile, parts: WordParts, max_tokens: int | None
) -> Reference:
    """Return the mean of the vectors of words that FastText answers, by numpy.

    A row counts as the share of its word: at the limit, a word may lose some of its parts.
    """
    ids = {word: row for row, word in enumerate(words)}

    def shares(word: str) -> list[tuple[int, float]]:
        if word in ids:
            return [(ids[word], 1.0)]
        buckets = buckets_of(word.encode(), parts)
        return [(len(words) + bucket, 1 / len(buckets)) for bucket in buckets]

    def encode(texts: list[str]) -> NDArray[np.float32]:
        table = rows.array()
        means = np.zeros((len(texts), rows.shape[1]), np.float32)
        for mean, text in zip(means, texts, strict=True):
            found = [share for word in text.split() for share in shares(word)][:max_tokens]
            if found:
                places, weights = map(list, zip(*found, strict=True))
                total = np.array(weights) @ table[places].astype(np.float64)
                mean[:] = total / sum(weights)
        return means

    return encode


def mean_rows(table: LookupTable, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Average the rows of token ids, in float64 until the end; float32 [n, dimension]."""
    rows = table.rows.array()
    means = np.zeros((len(token_ids), table.dimension))
    for mean, ids in zip(means, token_ids, strict=True):
        kept = [token for token in ids if token not in table.ignored_ids]
        if not kept:
            continue
        places = kept if table.mapping is None else table.mapping[kept]
        weights = np.ones(len(kept)) if table.weights is None else table.weights[kept]
        total = weights.astype(np.float64) @ rows[places].astype(np.float64)
        mean[:] = total / (weights.sum() if table.is_weighted_mean else len(kept))
    if table.normalize:
        lengths = np.linalg.norm(means, axis=1, keepdims=True)
        means /= np.where(lengths == 0, 1, lengths)
    return means.astype(np.float32)


def _limit(module: Any, max_tokens: int) -> None:
    tokenizer = module.tokenizer
    if isinstance(tokenizer, Tokenizer):
        side = (tokenizer.truncation or {}).get("direction", "right")
        tokenizer.enable_truncation(max_tokens, direction=side)
        return
    # In sentence-transformers 5, WordEmbeddings do not cut at their limit.
    tokenize = tokenizer.tokenize
    tokenizer.tokenize = lambda text, **options: tokenize(text, **options)[:max_tokens]


def _static_model(directory: Path) -> Any:
    try:
        from model2vec import StaticModel  # noqa: PLC0415 (not of the export extra)
    except ImportError:
        return None
    if not hasattr(StaticModel, "max_length"):
        return None
    try:
        model = StaticModel.from_pretrained(directory)
    except Exception as error:  # whatever the framework met in a foreign directory
        msg = f"model2vec cannot load {directory}: {error}"
        raise CheckpointError(msg) from error
    model.embedding = model.embedding.astype(np.float32)
    return model


def _by_numpy(
    path: Path, table: LookupTable, max_tokens: int | None, max_characters: int | None
) -> Reference:
    tokenizer = Tokenizer.from_file(str(path))
    tokenizer.no_padding()
    if max_tokens is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_tokens)

    def encode(texts: list[str]) -> NDArray[np.float32]:
        cut = [text[:max_characters] for text in texts]
        encodings = tokenizer.encode_batch(cut, add_special_tokens=False)
        return mean_rows(table, [encoding.ids for encoding in encodings])

    return encode
