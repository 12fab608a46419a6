"""Models of FastText, with the vectors of gensim as the reference."""

import gzip
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import WordParts
from lanner.commands.inspect import transformer_sentence
from lanner.errors import CheckpointError, LannerError, UnsupportedError
from lanner.loading.load import load, open_tokenizer
from lanner_export.export import export
from lanner_export.static.reading import read_static_checkpoint
from lanner_export.static.word_vectors import read_word_vectors

pytestmark = pytest.mark.no_transformers
gensim_fasttext = pytest.importorskip("gensim.models.fasttext", reason="the reference")

BUCKETS, DIMENSION = 500, 8
LETTERS = [*"abcdefghijklmnopqrstuvwxyz'-", *"äéß", *"猫爱中文", "🦅"]


def made_words(count: int, seed: int) -> list[str]:
    generator = np.random.default_rng(seed)
    words = {"".join(generator.choice(LETTERS, generator.integers(1, 14))) for _ in range(count)}
    return sorted(words)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fasttext") / "model.bin"
    words = made_words(1_300, seed=0)
    trained = gensim_fasttext.FastText(
        vector_size=DIMENSION, bucket=BUCKETS, min_n=3, max_n=6, min_count=1, seed=1, workers=1
    )
    trained.build_vocab([words])
    trained.train([words], total_examples=1, epochs=1)
    gensim_fasttext.save_facebook_model(trained, str(path))
    return path


@pytest.fixture(scope="module")
def artifact(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return export(model, tmp_path_factory.mktemp("artifact") / "fasttext.lanner")


@pytest.fixture(scope="module")
def reference(model: Path) -> Any:
    return gensim_fasttext.load_facebook_vectors(str(model))


@pytest.fixture(scope="module")
def words(reference: Any) -> tuple[list[str], list[str]]:
    """Return 1,000 words of the table, and 1,000 that are not in it."""
    made = [word for word in made_words(3_000, seed=1) if word not in reference.key_to_index]
    known, unknown = reference.index_to_key[:1_000], made[:1_000]
    assert len(known) == len(unknown) == 1_000
    return known, unknown


def cosines(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths = np.linalg.norm(first, axis=1) * np.linalg.norm(second, axis=1)
    found: NDArray[np.float32] = (first * second).sum(axis=1) / lengths
    return found


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_known_and_unknown_words_have_the_vectors_of_gensim(
    artifact: Artifact, reference: Any, words: tuple[list[str], list[str]], engine: str
) -> None:
    exact, near = (load(artifact.directory, variant=v, engine=engine) for v in ("fp32", "int8"))
    for some in words:
        expected = np.array([reference[word] for word in some])
        np.testing.assert_allclose(exact.encode(some), expected, atol=1e-6)
        given = near.encode(some)
        assert not np.array_equal(given, expected)
        assert cosines(given, expected).min() > 0.999


def test_a_text_is_the_mean_of_its_words(artifact: Artifact, reference: Any) -> None:
    known, unknown = reference.index_to_key[0], "unheard-of"
    texts = [f"{known} {unknown}", f"{unknown}\n{unknown} {known}", "Falcon, FALCON!"]
    expected = [np.mean([reference[word] for word in text.split()], axis=0) for text in texts]
    exact, near = (load(artifact.directory, variant=v).encode(texts) for v in ("fp32", "int8"))
    np.testing.assert_allclose(exact, expected, atol=1e-6)
    assert cosines(exact, near).min() > 0.999


def test_the_manifest_says_how_words_are_made(artifact: Artifact) -> None:
    manifest = Artifact.open(artifact.directory).manifest
    assert manifest.tokenizer.parts == WordParts(BUCKETS, 3, 6)
    words = manifest.architecture.vocabulary_size - BUCKETS
    assert transformer_sentence(manifest).startswith(
        f"FastText model of {words:,} words and 500 rows for parts of words, "
    )


def test_a_limit_counts_words_and_parts(model: Path, tmp_path: Path) -> None:
    made = export(model, tmp_path / "short.lanner", precisions=["fp32"], max_tokens=3)
    tokenizer = open_tokenizer(made.file("tokenizer.json"), made.manifest)
    known = read_word_vectors(model, tmp_path / "rows").words[0]
    # "<xy>" has the parts "<xy", "xy>" and "<xy>".
    (ids,) = tokenizer.encode([f"{known} xyxyxyxy"])
    assert (ids[0], len(ids)) == (0, 3)
    ours = load(made.directory)
    assert ours.count_tokens([known, "xy", f"{known} xy"]).tolist() == [1, 3, 4]
    assert ours.cut_indices([known, "xy", f"{known} xy"]) == [2]


def test_trimming_its_vocabulary_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "texts.txt").write_text("a falcon\n")
    with pytest.raises(UnsupportedError, match=r"any text may need any part: leave --vocabulary"):
        export(model, tmp_path / "out", vocabulary_from=tmp_path / "texts.txt")


def written(
    path: Path,
    words: list[bytes],
    rows: NDArray[np.float32],
    *,
    version: int = 12,
    kind: int = 2,
    labels: int = 0,
    pruned: int = -1,
    quantized: bool = False,
    lengths: tuple[int, int] = (3, 3),
    cut: int | None = None,
) -> Path:
    """Write a model as `FastText::saveModel` does, without its output matrix."""
    buckets = len(rows) - len(words)
    raw = struct.pack("<i", 793712314) + struct.pack(
        "<13id", version, rows.shape[1], 5, 5, 5, 5, 1, 2, kind, buckets, *lengths, 100, 1e-4
    )
    raw += struct.pack("<3i2q", len(words), len(words) - labels, labels, 10, pruned)
    raw += b"".join(word + b"\0" + struct.pack("<qb", 1, 0) for word in words)
    raw += struct.pack("<b2q", quantized, *rows.shape) + rows.astype("<f4").tobytes()
    path.write_bytes(raw[:cut])
    return path


def test_vectors_worked_out_by_hand(tmp_path: Path) -> None:
    # One bucket, so that every part has its row; "</s>" has no parts.
    path = written(tmp_path / "m.bin", [b"</s>", b"ab"], np.array([[1, 0], [0, 3], [6, 6]]))
    checkpoint = read_static_checkpoint(path, tmp_path / "rows")
    # "<ab" and "ab>" beside its own row: (3 + 6 + 6) / 3. "abc" has three parts. "a" has one.
    expected = [[1, 0], [4, 5], [6, 6], [2.5, 2.5], [0, 0]]
    texts = ["</s>", "ab", "abc", "</s> ab", ""]
    assert checkpoint.reference(texts).tolist() == expected


def test_bytes_worked_out_by_hand(tmp_path: Path) -> None:
    rows = np.array([[1, 0], [127, 2.7], [127, 0.6], [127, 1.4]], np.float32)
    path = written(tmp_path / "m.bin", [b"</s>", b"ab", b"cd"], rows)
    # The one bucket has [127, 1.4], in steps of 1. "ab" is (127 * 3, 2.7 + 1.4 * 2) / 3 = 5.5 / 3,
    # and "cd" is (0.6 + 1.4 * 2) / 3 = 3.4 / 3.
    made = export(path, tmp_path / "out", precisions=["fp32", "int8"])
    file = made.directory / "model.int8.onnx.data"
    stored = np.fromfile(file, np.int8, 8).reshape(4, 2)
    assert stored.tolist() == [[127, 0], [127, 2], [127, 1], [127, 1]]
    scales = np.fromfile(file, "<f4", 4, offset=2**16)
    np.testing.assert_allclose(scales, [1 / 127, 1, 1, 1], rtol=1e-6)
    assert file.stat().st_size == 2**16 + 4 * 4
    ours, exact = (load(made.directory, variant=variant) for variant in ("int8", "fp32"))
    texts = ["</s>", "ab", "abc", "ab cd", "</s> ab", ""]
    second = np.array([0, 2, 1, 1.5, 1, 0])
    first = np.array([1, 127, 127, 127, 64, 0])
    np.testing.assert_allclose(ours.encode(texts), np.stack([first, second], 1), rtol=1e-6)
    second = np.array([0, 5.5 / 3, 1.4, 8.9 / 6, 5.5 / 6, 0])
    np.testing.assert_allclose(exact.encode(texts), np.stack([first, second], 1), rtol=1e-6)


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_the_rows_are_mapped_into_memory(artifact: Artifact, variant: str) -> None:
    file = artifact.file(f"model.{variant}.onnx.data").resolve()
    ours = load(artifact.directory, variant=variant)
    assert ours.encode("unheard-of").any()
    assert str(file) in Path("/proc/self/maps").read_text()


def test_a_compressed_model_and_one_without_parts(tmp_path: Path) -> None:
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    path = written(tmp_path / "m.bin", [b"a", b"b", b"c"], rows, lengths=(0, 0))
    path.write_bytes(gzip.compress(path.read_bytes()))
    vectors = read_word_vectors(path, tmp_path / "rows")
    assert (vectors.words, vectors.parts) == (["a", "b", "c"], None)
    assert vectors.matrix.array().tolist() == rows.tolist()


def test_a_word_with_broken_bytes_is_left_out_with_a_warning(tmp_path: Path) -> None:
    words = [*(f"w{i}".encode() for i in range(30)), b"\xe7\x8c", b"last"]
    rows = np.repeat(np.arange(33, dtype=np.float32)[:, None], 2, axis=1)
    path = written(tmp_path / "m.bin", words, rows, lengths=(10, 10))
    checkpoint = read_static_checkpoint(path, tmp_path / "rows")
    assert list(checkpoint.warnings) == [
        f"1 words of {path} are left out, because they are not UTF-8: no text has them"
    ]
    assert checkpoint.reference(["last", "w1"])[:, 0].tolist() == [31, 1]


ROWS = np.ones((3, 2), np.float32)
WORDS = [b"a", b"b"]


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"kind": 3}, UnsupportedError, r"m.bin is a classifier of FastText, and Lanner exports"),
        ({"labels": 1}, UnsupportedError, r"is a classifier of FastText, .* print-word-vectors"),
        ({"quantized": True}, UnsupportedError, r"is a quantized model of FastText \(.ftz\)"),
        ({"pruned": 1}, UnsupportedError, r"has lost parts of words \(pruned\): export the .bin"),
        ({"version": 13}, UnsupportedError, r"of FastText's format 13, and Lanner reads 11 and 12"),
        ({"lengths": (3, 999)}, UnsupportedError, r"has 3 rows and parts of up to 999 characters"),
        ({"lengths": (-1, 3)}, CheckpointError, r"is not a whole model of FastText: copy or down"),
        ({"cut": 40}, CheckpointError, r"is not a whole model of FastText"),
        ({"cut": 105}, CheckpointError, r"is not a whole model of FastText"),
        ({"cut": -1}, CheckpointError, r"is not a whole model of FastText"),
        ({"words": [b"x" * 2_000_000]}, CheckpointError, r"is not a whole model of FastText"),
        ({"rows": ROWS * np.nan}, CheckpointError, r"has a row with a value that is not a finite"),
        ({"words": []}, CheckpointError, r"is not a whole model of FastText"),
    ],
)
def test_bad_models_are_refused(
    tmp_path: Path, options: dict[str, Any], error: type[LannerError], message: str
) -> None:
    path = written(tmp_path / "m.bin", **{"words": WORDS, "rows": ROWS, **options})
    with pytest.raises(error, match=message):
        read_word_vectors(path, tmp_path / "rows")
    assert not (tmp_path / "rows").exists()


def test_promises_take_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "m.bin"
    header = struct.pack("<i", 793712314) + struct.pack(
        "<13id", 12, 60_000, 5, 5, 5, 5, 1, 2, 2, 10_000_000, 3, 6, 100, 1e-4
    )
    path.write_bytes(header + struct.pack("<3i2q", 6_000_000, 6_000_000, 0, 10, -1))
    with pytest.raises(CheckpointError, match=r"is not a whole model of FastText"):
        read_word_vectors(path, tmp_path / "rows")
