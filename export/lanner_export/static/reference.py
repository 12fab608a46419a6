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
from lanner.text.segmentation import Segment
from lanner.text.word_parts import buckets_of
from lanner_export.graph.lookup import LookupTable
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


def word_vectors_reference(
    words: list[str], table: LookupTable, max_tokens: int | None, segment: Segment | None = None
) -> Reference:
    """Return the mean of the rows of words by sentence-transformers' `WhitespaceTokenizer`.

    Args:
        words: The words.
        table: Their rows and weights.
        max_tokens: The most words of a text.
        segment: Yields the words of a text; None to split at white space.
    """

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

    def ids(text: str) -> list[int]:
        if segment is None:
            found: list[int] = tokenizer().tokenize(text)
            return found
        # A segmenter gives blanks, too, and a table may have them.
        own: dict[str, int] = tokenizer().word2idx
        words = segment(text)
        return [one for w in words for one in ([own[w]] if w in own else tokenizer().tokenize(w))]

    return lambda texts: mean_rows(table, [ids(text)[:max_tokens] for text in texts])


def parts_reference(
    words: list[str],
    table: LookupTable,
    parts: WordParts,
    max_tokens: int | None,
    segment: Segment | None = None,
) -> Reference:
    """Return the mean of the vectors of words that FastText answers, by numpy.

    A row counts as the share of its word: at the limit, a word may lose some of its parts.

    Args:
        words: The words.
        table: Their rows and weights, and behind them the rows of parts.
        parts: How words are made of parts.
        max_tokens: The most rows of a text.
        segment: Yields the words of a text; None to split at white space.
    """
    ids = {word: row for row, word in enumerate(words)}
    split = str.split if segment is None else segment

    def shares(word: str) -> list[tuple[int, float]]:
        if word in ids:
            return [(ids[word], 1.0)]
        buckets = [] if word.isspace() else buckets_of(word.encode(), parts)
        return [(len(words) + bucket, 1 / len(buckets)) for bucket in buckets]

    def encode(texts: list[str]) -> NDArray[np.float32]:
        found = [
            [share for word in split(text) for share in shares(word)][:max_tokens] for text in texts
        ]
        return _means(table, found)

    return encode


def mean_rows(table: LookupTable, token_ids: Sequence[Sequence[int]]) -> NDArray[np.float32]:
    """Average the rows of token ids, in float64 until the end; float32 [n, dimension]."""
    ignored, rows = set(table.ignored_ids), table.vocabulary_size
    return _means(
        table,
        [
            [(one % rows, 1 / (1 + one // rows)) for one in ids if one not in ignored]
            for ids in token_ids
        ],
    )


def _means(
    table: LookupTable, tokens: Sequence[Sequence[tuple[int, float]]]
) -> NDArray[np.float32]:
    """Return the vector of each text, from its tokens and how much each counts."""
    rows = table.rows.array()
    means = np.zeros((len(tokens), rows.shape[1]))
    for mean, of_text in zip(means, tokens, strict=True):
        if not of_text:
            continue
        kept, shares = [token for token, _ in of_text], np.array([share for _, share in of_text])
        places = kept if table.mapping is None else table.mapping[kept]
        weights = shares if table.weights is None else shares * table.weights[kept]
        total = weights.astype(np.float64) @ rows[places].astype(np.float64)
        mean[:] = total / (weights.sum() if table.is_weighted_mean else shares.sum())
    if table.component is not None:
        component = table.component.astype(np.float64)
        means -= np.outer(means @ component, component)
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
