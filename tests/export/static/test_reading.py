"""Every kind of static vectors against its own library, through the graph in ONNX Runtime."""

import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.checkpoints import edit_json, plain_checkpoint, word_level_tokenizer
from tokenizers import Tokenizer

from lanner.engines.onnxruntime import open_session
from lanner.errors import CheckpointError, UnsupportedError
from lanner.running.batching import pad
from lanner.text.words import WordTokenizer
from lanner_export.graph.lookup import write_lookup_graph
from lanner_export.static.reading import is_static_checkpoint, read_static_checkpoint
from lanner_export.static.static_checkpoint import StaticCheckpoint

pytest.importorskip("sentence_transformers", reason="needs the export extra")

WORDS = ["the", "falcon", "flies", "猫", "🦅", "naïve", "Guitar", "x"]
TEXTS = [
    "the falcon flies",
    "the THE the unknown falcon",
    "",
    " \t\n",
    "nothing known here",
    "猫 🦅 naïve, (falcon)!",
    "Guitar guitar GUITAR",
    "x " * 300,
]
RANDOM = np.random.default_rng(0)
ROWS = RANDOM.normal(size=(len(WORDS), 6)).astype(np.float32)


def answer(directory: Path, checkpoint: StaticCheckpoint, texts: list[str]) -> NDArray[np.float32]:
    """Return the vectors by the artifact's means: the tokenizer's file and the graph."""
    path = directory / "written-tokenizer.json"
    checkpoint.write_tokenizer(path)
    if isinstance(checkpoint.tokenizer, Path):
        tokenizer = Tokenizer.from_file(str(path))
        side = (tokenizer.truncation or {}).get("direction", "right")
        tokenizer.enable_truncation(checkpoint.max_tokens or 2**31, direction=side)
        ids = [tokenizer.encode(text[: checkpoint.max_characters]).ids for text in texts]
    else:
        ids = WordTokenizer(path, checkpoint.max_tokens).encode(texts)
    write_lookup_graph(directory / "graph.onnx", checkpoint.table, "fp32")
    input_ids, mask = pad(ids, 0)
    session = open_session(directory / "graph.onnx")
    vectors: NDArray[np.float32] = session.run(
        None, {"input_ids": input_ids, "attention_mask": mask}
    )[0]
    return vectors


def require_parity(
    directory: Path, source: Path, texts: list[str], expected: Any
) -> StaticCheckpoint:
    assert is_static_checkpoint(source)
    checkpoint = read_static_checkpoint(source, directory / "rows")
    np.testing.assert_allclose(checkpoint.reference(texts), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(answer(directory, checkpoint, texts), expected, rtol=1e-5, atol=1e-6)
    assert checkpoint.dimension == np.asarray(expected).shape[1]
    return checkpoint


# --- model2vec ----------------------------------------------------------------------------------


def model2vec(directory: Path, tokenizer: Tokenizer | None = None, **arguments: Any) -> Any:
    """Save a StaticModel whose table has a row of large numbers for the unknown word."""
    static_model = pytest.importorskip("model2vec").StaticModel
    rows = np.vstack([np.full((1, 6), 1e3, np.float32), ROWS])
    vectors = arguments.pop("vectors", rows)
    model = static_model(vectors, tokenizer or word_level_tokenizer(WORDS), **arguments)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # model2vec 0.9 leaves files open
        model.save_pretrained(directory)
    return model


@pytest.mark.parametrize("normalize", [False, True])
def test_model2vec(tmp_path: Path, *, normalize: bool) -> None:
    model = model2vec(tmp_path / "m", normalize=normalize)
    checkpoint = require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS))
    assert (checkpoint.library, checkpoint.kind) == ("model2vec", "model2vec")
    assert (checkpoint.max_tokens, checkpoint.table.ignored_ids) == (512, (0,))
    assert checkpoint.reference(["unknown", ""]).tolist() == [[0] * 6] * 2


def test_model2vec_with_weights_and_a_quantized_vocabulary(tmp_path: Path) -> None:
    model = model2vec(
        tmp_path / "m",
        vectors=ROWS[:3],
        token_mapping=np.array([0, 2, 1, 1, 0, 2, 0, 1, 1]),
        weights=RANDOM.uniform(0.1, 3, 9),
        normalize=True,
    )
    require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS))


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int8])
def test_model2vec_of_other_dtypes_is_widened(tmp_path: Path, dtype: Any) -> None:
    vectors = (RANDOM.normal(size=(9, 6)) * 40).astype(dtype)
    model2vec(tmp_path / "m", vectors=vectors, normalize=True)
    wide = model2vec(tmp_path / "wide", vectors=vectors.astype(np.float32), normalize=True)
    require_parity(tmp_path, tmp_path / "m", TEXTS, wide.encode(TEXTS))


def test_model2vec_cuts_characters_and_then_tokens(tmp_path: Path) -> None:
    # The median of the lengths of "[UNK]" and of the words is 5, so 3 tokens are 15 characters.
    texts = ["x x x x x x", "the falcon flies", "falcon x the-very-long", "x unknown the flies"]
    model2vec(tmp_path / "m")
    edit_json(tmp_path / "m" / "config.json", max_length=3)
    rows = dict(zip(WORDS, ROWS.astype(np.float64), strict=True))
    expected = [
        rows["x"],
        (rows["the"] + rows["falcon"]) / 2,  # "flies" has become "flie"
        (rows["falcon"] + rows["x"]) / 2,  # "the-very-long" is cut to "the-ve"
        (rows["x"] + rows["the"]) / 2,  # the unknown word takes one of the three places
    ]
    checkpoint = require_parity(tmp_path, tmp_path / "m", texts, expected)
    assert (checkpoint.max_tokens, checkpoint.max_characters) == (3, 15)


def test_model2vec_cuts_on_the_right_whatever_its_tokenizer_says(tmp_path: Path) -> None:
    tokenizer = word_level_tokenizer(WORDS)
    tokenizer.enable_truncation(2, direction="left")
    model2vec(tmp_path / "m")
    tokenizer.save(str(tmp_path / "m" / "tokenizer.json"))
    edit_json(tmp_path / "m" / "config.json", max_length=2)
    text = "x the falcon"
    require_parity(tmp_path, tmp_path / "m", [text], [(ROWS[-1] + ROWS[0]) / 2])


def test_model2vec_without_a_limit(tmp_path: Path) -> None:
    model = model2vec(tmp_path / "m")
    edit_json(tmp_path / "m" / "config.json", max_length=None)
    texts = ["the " * 400 + "falcon " * 400]
    checkpoint = require_parity(
        tmp_path, tmp_path / "m", texts, model.encode(texts, max_length=None)
    )
    assert (checkpoint.max_tokens, checkpoint.max_characters) == (None, None)


def test_model2vec_adds_no_special_tokens(tmp_path: Path) -> None:
    tokenizers: Any = pytest.importorskip("tokenizers")
    tokenizer = word_level_tokenizer(WORDS)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="the $A the", special_tokens=[("the", 1)]
    )
    model = model2vec(tmp_path / "m", tokenizer)
    require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS))


def test_model2vec_drops_the_unknown_piece_of_unigram(tmp_path: Path) -> None:
    tokenizers: Any = pytest.importorskip("tokenizers")
    pieces = [("<unk>", 0.0), *((word, -1.0) for word in WORDS)]
    tokenizer = Tokenizer(tokenizers.models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    model2vec(tmp_path / "m", tokenizer)
    table = dict(zip(WORDS, ROWS, strict=True))
    expected = [(table["the"] + table["falcon"]) / 2, np.zeros(6)]
    require_parity(tmp_path, tmp_path / "m", ["the zzz falcon", "zzz"], expected)


def test_model2vec_by_numpy_is_that_of_model2vec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = model2vec(tmp_path / "m", normalize=True)
    expected = model.encode(TEXTS)
    monkeypatch.setattr("lanner_export.static.reference._static_model", lambda directory: None)
    require_parity(tmp_path, tmp_path / "m", TEXTS, expected)


def test_model2vec_that_is_damaged_is_refused(tmp_path: Path) -> None:
    model2vec(tmp_path / "m")
    edit_json(tmp_path / "m" / "config.json", max_length="long")
    with pytest.raises(CheckpointError, match=r"config.json has the max_length 'long'"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    model2vec(tmp_path / "m")
    (tmp_path / "m" / "tokenizer.json").unlink()
    with pytest.raises(CheckpointError, match=r"there is no .*tokenizer.json: save the checkpoint"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    word_level_tokenizer([*WORDS, "more"]).save(str(tmp_path / "m" / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"has rows for 9 tokens, and its tokenizer has 10: "):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    word_level_tokenizer(WORDS[:-1]).save(str(tmp_path / "m" / "tokenizer.json"))
    with pytest.raises(CheckpointError, match=r"has rows for 9 tokens, and its tokenizer has 8: "):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    weights = tmp_path / "m" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(CheckpointError, match=r"model.safetensors is not a whole safetensors file"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")


# --- sentence-transformers ----------------------------------------------------------------------


def save(directory: Path, modules: list[Any], **arguments: Any) -> Any:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    model = SentenceTransformer(modules=modules, device="cpu", **arguments)
    model.save(str(directory))
    return model


def static_embedding(rows: Any = None, **arguments: Any) -> Any:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    table = np.vstack([np.full((1, 6), 5, np.float32), ROWS]) if rows is None else rows
    tokenizer = arguments.pop("tokenizer", None) or word_level_tokenizer(WORDS)
    return modules.StaticEmbedding(tokenizer, embedding_weights=table, **arguments)


def word_embeddings(directory: Path, **arguments: Any) -> Any:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.modules.tokenizer import WhitespaceTokenizer  # noqa: PLC0415

    lines = [" ".join([w, *map(str, row)]) for w, row in zip(WORDS, ROWS.tolist(), strict=True)]
    (directory / "glove.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    tokenizer = WhitespaceTokenizer(**arguments)  # by default, with English stop words
    return modules.WordEmbeddings.from_text_file(str(directory / "glove.txt"), tokenizer=tokenizer)


@pytest.mark.parametrize("normalize", [False, True])
def test_static_embedding(tmp_path: Path, *, normalize: bool) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    behind = [modules.Normalize()] if normalize else []
    model = save(
        tmp_path / "m",
        [static_embedding(), *behind],
        prompts={"q": "the "},
        default_prompt_name="q",
    )
    checkpoint = require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS, prompt=""))
    assert (checkpoint.library, checkpoint.kind) == ("sentence-transformers", "StaticEmbedding")
    assert (checkpoint.max_tokens, checkpoint.max_characters) == (None, None)
    assert checkpoint.prompts["q"] == "the "
    assert (checkpoint.default_prompt_name, checkpoint.similarity) == ("q", "cosine")


def test_static_embedding_keeps_the_limit_of_its_tokenizer(tmp_path: Path) -> None:
    tokenizer = word_level_tokenizer(WORDS)
    tokenizer.enable_truncation(2, direction="left")
    model = save(tmp_path / "m", [static_embedding(tokenizer=tokenizer)])
    checkpoint = require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS))
    assert checkpoint.max_tokens == 2


def test_static_embedding_in_half_precision_is_widened(tmp_path: Path) -> None:
    model = save(tmp_path / "m", [static_embedding()])
    half = model.bfloat16()
    half.save(str(tmp_path / "half"))
    require_parity(tmp_path, tmp_path / "half", TEXTS, half.float().encode(TEXTS))


@pytest.mark.parametrize("weights", [None, {"the": 0.1, "FALCON": 9, "guitar": 3, "x": 0.0}])
@pytest.mark.parametrize("normalize", [False, True])
def test_word_embeddings(
    tmp_path: Path, weights: dict[str, float] | None, *, normalize: bool
) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    words = word_embeddings(tmp_path)
    parts = [words]
    if weights:
        vocabulary = words.tokenizer.get_vocab()
        parts.append(modules.WordWeights(vocabulary, weights, unknown_word_weight=0.5))
    parts.append(modules.Pooling(6, pooling_mode="mean"))
    model = save(tmp_path / "m", [*parts, *([modules.Normalize()] if normalize else [])])
    checkpoint = require_parity(tmp_path, tmp_path / "m", TEXTS, model.encode(TEXTS))
    assert (checkpoint.kind, checkpoint.max_tokens) == ("WordEmbeddings", 1_000_000)


def test_word_embeddings_keep_their_limit_case_and_stop_words(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    words = word_embeddings(tmp_path, stop_words=["flies"], do_lower_case=True)
    words.max_seq_length = 3
    save(tmp_path / "m", [words, modules.Pooling(6)])
    table = dict(zip(WORDS, ROWS.astype(np.float64), strict=True))
    texts = ["The falcon FLIES x the the", "the x", "flies", "the the falcon x x x x"]
    expected = [
        (table["the"] + table["falcon"] + table["x"]) / 3,
        (table["the"] + table["x"]) / 2,
        np.zeros(6),
        (2 * table["the"] + table["falcon"]) / 3,
    ]
    checkpoint = require_parity(tmp_path, tmp_path / "m", texts, expected)
    assert checkpoint.max_tokens == 3


def test_another_limit_holds_for_the_reference_too(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    save(tmp_path / "words", [word_embeddings(tmp_path, stop_words=()), modules.Pooling(6)])
    save(tmp_path / "static", [static_embedding()])
    model2vec(tmp_path / "model2vec")
    text = "the falcon flies"
    for kind in ("words", "static", "model2vec", "glove.txt"):
        checkpoint = read_static_checkpoint(tmp_path / kind, tmp_path / "rows", max_tokens=2)
        assert checkpoint.max_tokens == 2
        np.testing.assert_allclose(checkpoint.reference([text]), [ROWS[:2].mean(0)], rtol=1e-5)
        np.testing.assert_allclose(answer(tmp_path, checkpoint, [text]), [ROWS[:2].mean(0)], 1e-5)
    with pytest.raises(UnsupportedError, match=r"--max-tokens must be at least 1 for .*, not 0"):
        read_static_checkpoint(tmp_path / "static", tmp_path / "rows", max_tokens=0)


def test_old_names_of_sentence_transformers_are_understood(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    model = save(tmp_path / "m", [word_embeddings(tmp_path), modules.Pooling(6)])
    edit_json(
        tmp_path / "m" / "wordembedding_config.json",
        tokenizer_class="sentence_transformers.models.tokenizer.WhitespaceTokenizer",
    )
    (tmp_path / "m" / "1_Pooling" / "config.json").write_text(
        '{"word_embedding_dimension": 6, "pooling_mode_cls_token": false, '
        '"pooling_mode_mean_tokens": true}'
    )
    checkpoint = read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    np.testing.assert_allclose(answer(tmp_path, checkpoint, TEXTS), model.encode(TEXTS), atol=1e-6)


def test_what_is_not_exported_is_refused_by_its_name(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    # Dense after static vectors is exported; after averaged word vectors it is not.
    save(tmp_path / "dense", [static_embedding(), modules.Dense(6, 4)])
    save(
        tmp_path / "words",
        [word_embeddings(tmp_path), modules.Pooling(6, pooling_mode="mean"), modules.Dense(6, 4)],
    )
    with pytest.raises(UnsupportedError, match=r"words is made of WordEmbeddings, Pooling, Dense"):
        read_static_checkpoint(tmp_path / "words", tmp_path / "rows")
    save(tmp_path / "bow", [modules.BoW(vocab=WORDS)])
    assert is_static_checkpoint(tmp_path / "bow")
    with pytest.raises(UnsupportedError, match=r"bow is made of BoW, but for static vectors L"):
        read_static_checkpoint(tmp_path / "bow", tmp_path / "rows")
    save(tmp_path / "max", [word_embeddings(tmp_path), modules.Pooling(6, pooling_mode="max")])
    with pytest.raises(UnsupportedError, match=r"1_Pooling pools by max, but Lanner pools word v"):
        read_static_checkpoint(tmp_path / "max", tmp_path / "rows")
    edit_json(tmp_path / "max" / "1_Pooling" / "config.json", pooling_mode=["mean", "max"])
    with pytest.raises(UnsupportedError, match=r"1_Pooling pools by mean and max"):
        read_static_checkpoint(tmp_path / "max", tmp_path / "rows")
    edit_json(tmp_path / "max" / "wordembedding_config.json", tokenizer_class="evil.Whitespace")
    with pytest.raises(UnsupportedError, match=r"max has the tokenizer evil.Whitespace, and"):
        read_static_checkpoint(tmp_path / "max", tmp_path / "rows")
    modules_path = tmp_path / "dense" / "modules.json"
    content = json.loads(modules_path.read_text())
    modules_path.write_text(json.dumps([{**content[0], "type": "evil.StaticEmbedding"}]))
    assert not is_static_checkpoint(tmp_path / "dense")


def test_word_embeddings_that_are_damaged_are_refused(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    words = word_embeddings(tmp_path)
    weights = modules.WordWeights(words.tokenizer.get_vocab(), {"the": 2})
    save(tmp_path / "m", [words, weights, modules.Pooling(6)])
    edit_json(tmp_path / "m" / "1_WordWeights" / "config.json", word_weights={"the": "heavy"})
    with pytest.raises(CheckpointError, match=r"does not give words and their weights"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    edit_json(tmp_path / "m" / "whitespacetokenizer_config.json", vocab=WORDS[:2])
    with pytest.raises(CheckpointError, match=r"m has 2 words and 9 rows: save it again"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    edit_json(tmp_path / "m" / "whitespacetokenizer_config.json", stop_words=None)
    with pytest.raises(CheckpointError, match=r"has no list of words 'stop_words'"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")
    (tmp_path / "m" / "model.safetensors").rename(tmp_path / "m" / "pytorch_model.bin")
    edit_json(tmp_path / "m" / "whitespacetokenizer_config.json", stop_words=[])
    with pytest.raises(CheckpointError, match=r"holds its weights only as a pickle"):
        read_static_checkpoint(tmp_path / "m", tmp_path / "rows")


# --- files --------------------------------------------------------------------------------------


def test_word_vectors_are_gensims_mean(tmp_path: Path) -> None:
    keyed_vectors = pytest.importorskip("gensim.models").KeyedVectors(6)
    keyed_vectors.add_vectors(WORDS, ROWS)
    keyed_vectors.save_word2vec_format(tmp_path / "v.bin", binary=True)
    texts = ["the falcon flies", "猫 🦅 unknown 猫", "x"]
    expected = [keyed_vectors.get_mean_vector(text.split(), pre_normalize=False) for text in texts]
    checkpoint = require_parity(tmp_path, tmp_path / "v.bin", texts, expected)
    assert (checkpoint.library, checkpoint.kind) == ("word vectors", "word2vec binary")
    assert (checkpoint.max_tokens, checkpoint.table.normalize) == (None, False)


def test_word_vectors_are_those_of_sentence_transformers(tmp_path: Path) -> None:
    from sentence_transformers.sentence_transformer import modules  # noqa: PLC0415

    words = word_embeddings(tmp_path, stop_words=())
    model = save(tmp_path / "m", [words, modules.Pooling(6)])
    require_parity(tmp_path, tmp_path / "glove.txt", TEXTS, model.encode(TEXTS))


def test_a_transformer_is_no_static_checkpoint(tmp_path: Path) -> None:
    assert not is_static_checkpoint(plain_checkpoint(tmp_path / "bert"))
    assert not is_static_checkpoint(tmp_path / "nothing")
    (tmp_path / "notes.txt").write_text("one two three\n")
    assert not is_static_checkpoint(tmp_path / "notes.txt")
