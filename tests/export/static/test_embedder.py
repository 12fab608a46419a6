"""Static vectors through the whole export and the runtime; other tests have each kind alone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.errors import CorruptArtifactError, UnsupportedError
from lanner.loading.load import load

sentence_transformers = pytest.importorskip("sentence_transformers", reason="the reference")
gensim_models = pytest.importorskip("gensim.models", reason="writes the files")

from lanner_export.export import export  # noqa: E402

WORDS = ["the", "falcon", "flies", "over", "hills", "a", "bird", "猫", "🦅", "Guitar"]
TEXTS = [
    "The falcon flies.",
    "a bird over the hills",
    "猫 🦅",
    "guitar, GUITAR",
    "unknown",
    "",
    " ",
]


@pytest.fixture(scope="module")
def vectors() -> Any:
    keyed = gensim_models.KeyedVectors(vector_size=12)
    rows = np.random.default_rng(0).normal(size=(len(WORDS), 12)).astype(np.float32)
    keyed.add_vectors(WORDS, rows)
    return keyed


@pytest.fixture(scope="module")
def glove(vectors: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("glove") / "glove.txt"
    vectors.save_word2vec_format(str(path), write_header=False)
    return path


@pytest.fixture(scope="module")
def artifact(glove: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(glove, tmp_path_factory.mktemp("artifact") / "glove.lanner")


def test_vectors_are_those_of_sentence_transformers(artifact: Artifact, glove: Path) -> None:
    modules = sentence_transformers.sentence_transformer.modules
    tokenizer = modules.tokenizer.WhitespaceTokenizer(stop_words=())
    words = modules.WordEmbeddings.from_text_file(str(glove), tokenizer=tokenizer)
    reference = sentence_transformers.SentenceTransformer(
        modules=[words, modules.Pooling(12)], device="cpu"
    )
    model = load(artifact.directory, variant="fp32")
    np.testing.assert_allclose(model.encode(TEXTS), reference.encode(TEXTS), atol=1e-6)


def test_int8_is_near_and_an_unknown_text_is_zero(artifact: Artifact) -> None:
    exact, near = (load(artifact.directory, variant=v).encode(TEXTS) for v in ("fp32", "int8"))
    assert not exact[3:].any()
    assert not near[3:].any()
    lengths = np.linalg.norm(exact[:3], axis=1) * np.linalg.norm(near[:3], axis=1)
    assert ((exact[:3] * near[:3]).sum(axis=1) / lengths).min() > 0.9999


def test_quantized_vectors_are_near(glove: Path, tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    lines = [
        " ".join(generator.choice(WORDS[:7], count)) for count in generator.integers(1, 6, 150)
    ]
    (tmp_path / "texts.txt").write_text("\n".join(lines))
    made = export(glove, tmp_path / "near.lanner", calibration=tmp_path / "texts.txt")
    model = load(made.directory, variant="fp32")
    texts = ["the falcon flies", "a bird over the hills", "hills"]
    floats = model.encode(texts)
    for precision, least in (("int8", 0.999), ("uint8", 0.999), ("binary", 0.6)):
        quantized = model.encode(texts, precision=precision)
        assert model.similarity_pairwise(quantized, floats).min() > least


def test_ranges_of_few_texts_are_warned_of(glove: Path, tmp_path: Path) -> None:
    (tmp_path / "unknown.txt").write_text("nothing\nof this\n")
    warnings: list[str] = []
    made = export(
        glove,
        tmp_path / "unknown.lanner",
        calibration=tmp_path / "unknown.txt",
        warn=warnings.append,
    )
    (warning,) = warnings
    assert warning.startswith("unknown.txt gave only 0 vectors, so int8 and uint8 vectors of other")
    assert made.manifest.embedding_ranges is None
    with pytest.raises(UnsupportedError, match=r"stores no ranges for int8 and uint8 vectors: ex"):
        load(made.directory, variant="fp32").encode("the", precision="int8")


@pytest.mark.parametrize("kind", ["word2vec text", "word2vec binary", "gensim", "model2vec"])
def test_each_format_gives_the_same_vectors(
    artifact: Artifact, vectors: Any, tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "vectors"
    if kind == "gensim":
        vectors.save(str(path))
    elif kind == "model2vec":
        write_model2vec(path, vectors)
    else:
        vectors.save_word2vec_format(str(path), binary=kind.endswith("binary"))
    other = export(path, tmp_path / "out.lanner", precisions=["fp32"])
    texts = ["the falcon flies", "a bird over the hills"]  # texts that all split alike
    expected = load(artifact.directory, variant="fp32").encode(texts)
    np.testing.assert_allclose(load(other.directory).encode(texts), expected, atol=1e-6)
    assert other.manifest.architecture.model_type in (kind, "gensim KeyedVectors")


def write_model2vec(path: Path, vectors: Any) -> None:
    from model2vec import StaticModel  # noqa: PLC0415
    from tests.support.checkpoints import word_level_tokenizer  # noqa: PLC0415

    tokenizer = word_level_tokenizer(WORDS)
    rows = np.zeros((tokenizer.get_vocab_size(), 12), np.float32)
    for word, row in tokenizer.get_vocab().items():
        if word in WORDS:
            rows[row] = vectors[word]
    StaticModel(rows, tokenizer, config={"normalize": False}).save_pretrained(path)


def test_the_same_tensors_as_every_encoder(artifact: Artifact) -> None:
    assert artifact.manifest.inputs == ["input_ids", "attention_mask"]
    assert artifact.manifest.outputs == ["sentence_embedding"]
    variant = artifact.choose("fp32")
    assert variant.weights_file == "model.fp32.onnx.data"
    assert artifact.manifest.files[variant.weights_file].bytes >= 10 * 12 * 4
    assert artifact.quality()["variants"]["int8"]["cosine_min"] > 0.999


def test_changed_weights_are_found(artifact: Artifact, tmp_path: Path) -> None:
    import shutil  # noqa: PLC0415

    copy = Path(shutil.copytree(artifact.directory, tmp_path / "copy"))
    raw = bytearray((copy / "model.fp32.onnx.data").read_bytes())
    raw[5] ^= 1
    (copy / "model.fp32.onnx.data").write_bytes(raw)
    with pytest.raises(CorruptArtifactError, match=r"model.fp32.onnx.data was changed after"):
        load(copy, variant="fp32")


def test_what_static_vectors_have_not(glove: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"have no head 'tag': use --head embed"):
        export(glove, tmp_path / "out", head="tag")
    with pytest.raises(UnsupportedError, match=r"are exported whole: leave --truncate-dim out"):
        export(glove, tmp_path / "out", truncate_dim=3)
    assert list(tmp_path.iterdir()) == []


def test_a_truncation_of_its_own_is_refused(tmp_path: Path) -> None:
    from tests.support.checkpoints import edit_json, word_level_tokenizer  # noqa: PLC0415

    modules = sentence_transformers.sentence_transformer.modules
    static = modules.StaticEmbedding(word_level_tokenizer(WORDS), embedding_dim=12)
    path = tmp_path / "static"
    sentence_transformers.SentenceTransformer(modules=[static], device="cpu").save(str(path))
    edit_json(path / "config_sentence_transformers.json", truncate_dim=6)
    with pytest.raises(UnsupportedError, match=r"truncates to 6 dimensions, and static v"):
        export(path, tmp_path / "out")


def test_the_commands(artifact: Artifact, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(artifact.directory)]) == 0
    shown = capsys.readouterr().out
    assert "glove: embed, glove text of 10 words" in shown
    assert "longest     no limit" in shown
    assert main(["similarity", str(artifact.directory), "the falcon", "THE falcon!", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["similarity"] == pytest.approx(1)
