"""Reading checkpoints without a transformer: tables of vectors to look up and average.

Four kinds are supported, each with the semantics of its own library: a model2vec directory, a
sentence-transformers directory with StaticEmbedding or with WordEmbeddings, and a file of word
vectors. No table is in memory as a whole, except for a reference whose framework needs it.
"""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from lanner.errors import CheckpointError, UnsupportedError
from lanner.text.words import Vocabulary
from lanner_export.checkpoint.modules import (
    MODULES_FILE,
    SETTINGS_FILE,
    TRUSTED_PREFIX,
    module_entries,
    read_json,
    read_settings,
    require_safetensors,
)
from lanner_export.checkpoint.own_tokenizer import read_tokenizer
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.matrix_file import MatrixFile, read_safetensors
from lanner_export.static.dense import read_dense
from lanner_export.static.reference import (
    model2vec_reference,
    sentence_transformers_reference,
)
from lanner_export.static.static_checkpoint import (
    MODEL2VEC,
    SENTENCE_TRANSFORMERS,
    StaticCheckpoint,
)
from lanner_export.static.word_file import read_words
from lanner_export.static.word_options import (
    NO_WORD_OPTIONS,
    WordOptions,
    require_no_word_options,
)
from lanner_export.static.word_vectors import is_word_vectors

#: The supported modules of sentence-transformers; Normalize may follow.
_MODULES = (
    ("StaticEmbedding",),
    ("WordEmbeddings", "Pooling"),
    ("WordEmbeddings", "WordWeights", "Pooling"),
)
#: First modules that need no transformer; BoW is listed only to be refused by name.
_FIRST_MODULES = ("StaticEmbedding", "WordEmbeddings", "BoW")
_WEIGHTS_FILE = "model.safetensors"
_TOKENIZER_FILE = "tokenizer.json"
#: The default limit of model2vec and WordEmbeddings.
_MODEL2VEC_MAX_TOKENS = 512
_WORD_EMBEDDINGS_MAX_TOKENS = 1_000_000


def is_static_checkpoint(path: Path) -> bool:
    """Return whether `read_static_checkpoint` reads it: a directory by its config, or a file."""
    if not path.is_dir():
        return is_word_vectors(path)
    return _is_model2vec(path) or next(iter(_modules(path)), ("",))[0] in _FIRST_MODULES


def read_static_checkpoint(
    path: Path,
    rows: Path,
    *,
    max_tokens: int | None = None,
    words: WordOptions = NO_WORD_OPTIONS,
) -> StaticCheckpoint:
    """Read a checkpoint of static vectors.

    A file of word vectors has no settings: texts are split at white space without stop words, only
    unknown words are lower-cased, as in sentence-transformers, and the mean is not normalized.

    Args:
        path: The directory or file.
        rows: The path for the rows of a file of word vectors; a directory's rows stay in place.
        max_tokens: A longest input that replaces the checkpoint's own.
        words: The options of a file of word vectors; a directory has settings of its own.

    Raises:
        CheckpointError: The checkpoint is incomplete or damaged.
        UnsupportedError: Lanner does not export a part of the checkpoint, or it takes no options.
        InputError: The texts that words are weighed by have none of them.
        MissingExtraError: jieba was asked for, and is not installed.
    """
    if max_tokens is not None and max_tokens < 1:
        msg = f"--max-tokens must be at least 1 for {path}, not {max_tokens}"
        raise UnsupportedError(msg)
    if not path.is_dir():
        return read_words(path, rows, max_tokens, words)
    require_no_word_options(words, str(path))
    if _is_model2vec(path):
        return _model2vec(path, max_tokens)
    return _sentence_transformers(path, max_tokens)


def _is_model2vec(directory: Path) -> bool:
    config, weights = directory / "config.json", directory / _WEIGHTS_FILE
    if not config.is_file() or not weights.is_file():
        return False
    content = read_json(config, f"{directory} is not a checkpoint")
    return content.get("model_type") == "model2vec" or (
        "model_type" not in content and "embeddings" in read_safetensors(weights)
    )


def _model2vec(directory: Path, wanted: int | None) -> StaticCheckpoint:
    config = read_json(directory / "config.json", f"{directory} is not a model2vec checkpoint")
    max_tokens = wanted or config.get("max_length", _MODEL2VEC_MAX_TOKENS)
    if max_tokens is not None and (type(max_tokens) is not int or max_tokens < 1):
        msg = f"{directory / 'config.json'} has the max_length {max_tokens!r}: give it a number"
        raise CheckpointError(msg)
    path = directory / _TOKENIZER_FILE
    tokenizer = read_tokenizer(path)
    unknown_id = _unknown_id(tokenizer, path)
    rows, weights, mapping = _tensors(directory / _WEIGHTS_FILE, "embeddings")
    table = LookupTable(
        rows=rows,
        weights=weights,
        mapping=mapping,
        ignored_ids=() if unknown_id is None else (unknown_id,),
        normalize=bool(config.get("normalize", False)),
    )
    _require_row_a_token(table, tokenizer, exactly=mapping is None)
    max_characters = None
    if max_tokens is not None:
        median_token_length = int(np.median([len(token) for token in tokenizer.get_vocab()]))
        max_characters = max_tokens * median_token_length
    return StaticCheckpoint(
        library=MODEL2VEC,
        kind="model2vec",
        tokenizer=path,
        table=table,
        max_tokens=max_tokens,
        max_characters=max_characters,
        reference=model2vec_reference(directory, path, table, max_tokens, max_characters),
    )


def _sentence_transformers(directory: Path, wanted: int | None) -> StaticCheckpoint:
    places = _modules(directory)
    names = tuple(name for name, _ in places)
    dense = [place for name, place in places if name == "Dense"]
    start = names[: len(names) - len(dense) - (names[-1:] == ("Normalize",))]
    ends = [("Dense",) * len(dense), (*("Dense",) * len(dense), "Normalize")]
    is_known = start in _MODULES and names[len(start) :] in ends
    if not is_known or (dense and start[0] != "StaticEmbedding"):
        kinds = " or ".join(" + ".join(each) for each in _MODULES)
        msg = (
            f"{directory} is made of {', '.join(names) or 'no modules'}, but for static vectors "
            f"Lanner exports only {kinds}, each with or without Normalize at the end, and "
            "StaticEmbedding with Dense before that"
        )
        raise UnsupportedError(msg)
    first = places[0][1]
    settings = read_settings(directory) or {}
    if settings.get("truncate_dim") is not None:
        msg = (
            f"{directory / SETTINGS_FILE} truncates to {settings['truncate_dim']} dimensions, and "
            "static vectors are exported whole: take truncate_dim out of it, and pass it to encode"
        )
        raise UnsupportedError(msg)
    if names[0] == "StaticEmbedding":
        tokenizer: Path | Vocabulary = first / _TOKENIZER_FILE
        table, own = _static_embedding(first, normalize=names == ("StaticEmbedding", "Normalize"))
        if dense:
            layers = tuple(read_dense(place) for place in dense)
            table = replace(table, layers=layers, normalizes_last=names[-1] == "Normalize")
    else:
        tokenizer, table, own = _word_embeddings(dict(places))
    max_tokens = wanted or own
    return StaticCheckpoint(
        library=SENTENCE_TRANSFORMERS,
        kind=names[0],
        tokenizer=tokenizer,
        table=table,
        max_tokens=max_tokens,
        max_characters=None,
        reference=sentence_transformers_reference(directory, max_tokens),
        prompts=dict(settings.get("prompts") or {}),
        default_prompt_name=settings.get("default_prompt_name"),
        similarity=str(settings.get("similarity_fn_name") or "cosine"),
    )


def _static_embedding(directory: Path, *, normalize: bool) -> tuple[LookupTable, int | None]:
    tokenizer = read_tokenizer(directory / _TOKENIZER_FILE)
    path = directory / _WEIGHTS_FILE
    name = "embedding.weight" if "embedding.weight" in read_safetensors(path) else "embeddings"
    rows, weights, mapping = _tensors(path, name)
    table = LookupTable(rows=rows, weights=weights, mapping=mapping, normalize=normalize)
    _require_row_a_token(table, tokenizer)
    # StaticEmbedding has no limit of its own, and keeps the truncation saved with its tokenizer.
    truncation = tokenizer.truncation
    return table, int(truncation["max_length"]) if truncation else None


def _word_embeddings(places: dict[str, Path]) -> tuple[Vocabulary, LookupTable, int | None]:
    directory = places["WordEmbeddings"]
    config = read_json(directory / "wordembedding_config.json", "WordEmbeddings need their config")
    kind = str(config.get("tokenizer_class"))
    if not kind.startswith(TRUSTED_PREFIX) or not kind.endswith(".WhitespaceTokenizer"):
        msg = f"{directory} has the tokenizer {kind}, and Lanner exports WhitespaceTokenizer"
        raise UnsupportedError(msg)
    _require_mean(places["Pooling"])
    vocabulary = _vocabulary(directory / "whitespacetokenizer_config.json")
    rows, _, _ = _tensors(directory / _WEIGHTS_FILE, "emb_layer.weight")
    if rows.shape[0] != len(vocabulary.words):
        words = len(vocabulary.words)
        msg = f"{directory} has {words} words and {rows.shape[0]} rows: save it again"
        raise CheckpointError(msg)
    weights = None
    if "WordWeights" in places:
        weights = _word_weights(places["WordWeights"] / "config.json")
    table = LookupTable(
        rows=rows,
        weights=weights,
        is_weighted_mean=weights is not None,
        normalize="Normalize" in places,
    )
    return vocabulary, table, int(config.get("max_seq_length") or _WORD_EMBEDDINGS_MAX_TOKENS)


def _vocabulary(path: Path) -> Vocabulary:
    config = read_json(path, "a WhitespaceTokenizer needs its config")
    words, stop_words = _words(config, "vocab", path), _words(config, "stop_words", path)
    return Vocabulary(words, frozenset(stop_words), bool(config.get("do_lower_case")))


def _words(config: dict[str, Any], name: str, path: Path) -> list[str]:
    words = config.get(name)
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        msg = f"{path} has no list of words {name!r}: save the checkpoint again"
        raise CheckpointError(msg)
    return words


def _word_weights(path: Path) -> NDArray[np.float32]:
    """Return the weight of each word, from the config like sentence-transformers at each load."""
    config = read_json(path, "WordWeights need their config")
    try:
        by_word, unknown = config["word_weights"], float(config.get("unknown_word_weight", 1))
        weights = [by_word.get(w, by_word.get(w.lower(), unknown)) for w in config["vocab"]]
        return np.array(weights, np.float32)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        msg = f"{path} does not give words and their weights ({error!r}): save the checkpoint again"
        raise CheckpointError(msg) from None


def _modules(directory: Path) -> list[tuple[str, Path]]:
    """Return class name and directory of each module of sentence-transformers, if any."""
    path = directory / MODULES_FILE
    entries = module_entries(path) if path.is_file() else []
    # A foreign class keeps its full name, which is not among the supported ones.
    return [
        (kind.rpartition(".")[2] if kind.startswith(TRUSTED_PREFIX) else kind, place)
        for kind, place in entries
    ]


def _require_mean(directory: Path) -> None:
    config = read_json(directory / "config.json", "a Pooling module needs its config")
    # Older versions wrote a switch for each mode.
    old = [name for name, is_on in config.items() if name.startswith("pooling_mode_") and is_on]
    modes = config.get("pooling_mode", old or ["pooling_mode_mean_tokens"])
    modes = [modes] if isinstance(modes, str) else modes
    if modes not in (["mean"], ["pooling_mode_mean_tokens"]):
        pooled = " and ".join(map(str, modes))
        msg = f"{directory} pools by {pooled}, but Lanner pools word vectors only by the mean"
        raise UnsupportedError(msg)
    if config.get("include_prompt", True) is False:
        msg = f"{directory} excludes its prompts from pooling, which Lanner does not export yet"
        raise UnsupportedError(msg)


def _unknown_id(tokenizer: Tokenizer, path: Path) -> int | None:
    model = read_json(path, "a tokenizer is needed")["model"]
    token = model.get("unk_token")
    unknown: int | None = model.get("unk_id") if token is None else tokenizer.token_to_id(token)
    return unknown


def _require_row_a_token(
    table: LookupTable, tokenizer: Tokenizer, *, exactly: bool = False
) -> None:
    tokens = 1 + max(tokenizer.get_vocab().values(), default=-1)
    if tokens > table.vocabulary_size or (exactly and tokens != table.vocabulary_size):
        msg = (
            f"{table.rows.path} has rows for {table.vocabulary_size} tokens, and its tokenizer has "
            f"{tokens}: save the two again, together"
        )
        raise CheckpointError(msg)


def _tensors(
    path: Path, name: str
) -> tuple[MatrixFile, NDArray[np.float32] | None, NDArray[np.integer[Any]] | None]:
    """Return the table of that name, and model2vec's `weights` and `mapping` if present."""
    require_safetensors(path.parent, is_needed=True)
    tensors = read_safetensors(path)
    if name not in tensors or len(tensors[name][0]) != 2:
        msg = f"{path} has no table {name!r}: it holds {', '.join(sorted(tensors)) or 'nothing'}"
        raise CheckpointError(msg)
    shape, dtype, place = tensors[name]
    vectors = {}
    for other in {"weights", "mapping"} & set(tensors):
        sizes, kind, start = tensors[other]
        vectors[other] = np.fromfile(path, kind, math.prod(sizes), offset=start).reshape(sizes)
    weights = vectors.get("weights")
    if weights is not None and not np.isfinite(weights.astype(np.float32)).all():
        msg = f"{path} has weights that are not finite numbers: save the checkpoint again"
        raise CheckpointError(msg)
    return (
        MatrixFile(path, (shape[0], shape[1]), dtype, place),
        None if weights is None else weights.astype(np.float32),
        vectors.get("mapping"),
    )
