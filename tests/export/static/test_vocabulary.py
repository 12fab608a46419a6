"""Each kind against its own library on the corpus, and by hand on words outside of it."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import edit_json, word_level_tokenizer

from lanner.errors import CheckpointError, ExportError, InputError, UnsupportedError
from lanner.loading.load import load

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")

from lanner_export.export import export  # noqa: E402
from lanner_export.loading import load_checkpoint  # noqa: E402
from lanner_export.static.reading import read_static_checkpoint  # noqa: E402
from lanner_export.static.vocabulary import trim_static_vocabulary  # noqa: E402
from lanner_export.trim.trimming import Corpus, Trimming  # noqa: E402

WORDS = ["the", "falcon", "flies", "猫", "Guitar", "x"]
ROWS = np.random.default_rng(0).normal(size=(len(WORDS), 6)).astype(np.float32)
ROW = dict(zip(WORDS, ROWS.astype(np.float64), strict=True))
#: Words looked up as they are, without the full stop, and in lower case.
CORPUS = Corpus("corpus.txt", ["falcon Guitar", "unknown", "falcon. X x", "Guitar"])


def glove(directory: Path) -> Path:
    lines = [" ".join([w, *map(str, row)]) for w, row in zip(WORDS, ROWS.tolist(), strict=True)]
    (directory / "glove.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return directory / "glove.txt"


def save(directory: Path, modules: list[Any]) -> Path:
    model = sentence_transformers.SentenceTransformer(modules=modules, device="cpu")
    model.save(str(directory / "model"))
    return directory / "model"


def weighted_words(directory: Path) -> Path:
    """Save word embeddings with a weight of 3 for "falcon" and the stop word "the"."""
    modules = sentence_transformers.sentence_transformer.modules
    words = modules.WordEmbeddings.from_text_file(
        str(glove(directory)), tokenizer=modules.tokenizer.WhitespaceTokenizer(stop_words=["the"])
    )
    weights = modules.WordWeights(words.tokenizer.get_vocab(), {"falcon": 3.0})
    return save(directory, [words, weights, modules.Pooling(6)])


def static_embedding(directory: Path) -> Path:
    """Save an embedding that keeps the last two tokens; unknown words have a row of fives."""
    tokenizer = word_level_tokenizer(WORDS)
    tokenizer.enable_truncation(2, direction="left")
    table = np.vstack([np.full((1, 6), 5, np.float32), ROWS])
    module = sentence_transformers.sentence_transformer.modules.StaticEmbedding
    return save(directory, [module(tokenizer, embedding_weights=table)])


def model2vec(directory: Path) -> Path:
    """Save a model in which each word has the row of the word before it, times its number."""
    static_model = pytest.importorskip("model2vec").StaticModel
    model = static_model(
        ROWS,
        word_level_tokenizer(WORDS),
        token_mapping=np.array([0, 0, 0, 1, 2, 3, 4]),
        weights=np.arange(7.0),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # model2vec 0.9 leaves files open
        model.save_pretrained(directory / "model")
    edit_json(directory / "model" / "config.json", normalize=False)
    return directory / "model"


FIVES = np.full(6, 5.0)


@pytest.mark.parametrize(
    ("make", "kept", "count", "other", "expected"),
    [
        (glove, 3, 6, "the falcon x", (ROW["falcon"] + ROW["x"]) / 2),
        (weighted_words, 3, 7, "flies falcon x", (3 * ROW["falcon"] + ROW["x"]) / 4),
        (static_embedding, 4, 7, "x flies falcon", (FIVES + ROW["falcon"]) / 2),
        (model2vec, 4, 7, "flies falcon x", (2 * ROW["the"] + 6 * ROW["Guitar"]) / 2),
    ],
    ids=["word vectors", "WordEmbeddings", "StaticEmbedding", "model2vec"],
)
def test_the_words_of_the_corpus_are_kept(
    make: Callable[[Path], Path], kept: int, count: int, other: str, expected: Any, tmp_path: Path
) -> None:
    source = str(make(tmp_path))
    loaded = load_checkpoint(source, trimming=Trimming(corpus=CORPUS), scratch=tmp_path)
    assert loaded.trimming == {"tokens": {"kept": kept, "of": count, "corpus": "corpus.txt"}}
    assert loaded.architecture.vocabulary_size == kept
    assert loaded.architecture.parameters == 6 * (3 if make is model2vec else kept)
    assert loaded.source_reference is not None
    np.testing.assert_allclose(
        loaded.reference(CORPUS.texts), loaded.source_reference(CORPUS.texts), atol=1e-5
    )
    np.testing.assert_allclose(loaded.reference([other]), [expected], rtol=1e-5)
    assert np.abs(loaded.source_reference([other])[0] - expected).max() > 0.01
    text = " ".join(CORPUS.texts)
    artifact = export(source, tmp_path / "out.lanner", vocabulary_from=write(tmp_path, text))
    np.testing.assert_allclose(
        load(artifact.directory, variant="fp32").encode([text, other]),
        [loaded.source_reference([text])[0], expected],
        atol=1e-5,
    )


def write(directory: Path, text: str) -> Path:
    (directory / "corpus.txt").write_text(text, encoding="utf-8")
    return directory / "corpus.txt"


def test_the_words_of_the_prompts_are_kept(tmp_path: Path) -> None:
    path = weighted_words(tmp_path)
    edit_json(path / "config_sentence_transformers.json", prompts={"query": "flies "})
    loaded = load_checkpoint(str(path), trimming=Trimming(corpus=CORPUS), scratch=tmp_path)
    assert loaded.trimming["tokens"]["kept"] == 4


def test_a_corpus_without_a_known_word_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"glove.txt has no word of the corpus: give texts of its "
    ):
        export(glove(tmp_path), tmp_path / "out", vocabulary_from=write(tmp_path, "unknown\n"))
    assert not (tmp_path / "out").exists()


def test_static_vectors_have_no_layers(tmp_path: Path) -> None:
    with pytest.raises(
        UnsupportedError, match=r"static vectors, which have no layers: leave --kee"
    ):
        export(glove(tmp_path), tmp_path / "out", keep_layers=1)


def test_a_special_token_that_would_be_dropped(tmp_path: Path) -> None:
    tokenizer = word_level_tokenizer(WORDS)
    tokenizer.model = type(tokenizer.model)(tokenizer.get_vocab(), unk_token="<unk>")  # noqa: S106
    path = static_embedding(tmp_path)
    tokenizer.save(str(path / "tokenizer.json"))
    with pytest.raises(
        CheckpointError, match=r"would drop its special token '<unk>', which its to"
    ):
        load_checkpoint(str(path), trimming=Trimming(corpus=CORPUS), scratch=tmp_path)


def test_an_answer_that_would_change_is_refused(tmp_path: Path) -> None:
    from dataclasses import replace  # noqa: PLC0415

    static = read_static_checkpoint(glove(tmp_path), tmp_path / "rows")
    other = replace(static, max_tokens=1)  # its reference has no limit yet
    with pytest.raises(ExportError, match=r"^it would answer the corpus differently with the voca"):
        trim_static_vocabulary(other, CORPUS.texts, "it", tmp_path)
