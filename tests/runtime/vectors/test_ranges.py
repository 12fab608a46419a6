from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import ArtifactError
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load
from lanner.vectors.ranges import EmbeddingRanges

# Lengths 5 and 13, of the first dimension alone 3 and 5; the mean length is 9 and 4.
VECTORS = np.array([[3, -4], [-5, -12]], dtype=np.float32)


def test_ranges_by_hand() -> None:
    ranges = EmbeddingRanges.measure(VECTORS)
    np.testing.assert_allclose(ranges.lengths, [4, 9], rtol=1e-6)
    # At length 9 the vectors are [5.4, -7.2] and [-3.46, -8.31]: with them, the first dimension
    # goes from -5 to 5.4 and the second from -12 to -4, here both twice as wide.
    expected = [[-10.2, -16], [10.6, 0]]
    np.testing.assert_allclose(ranges.of(2, normalized=False), expected, rtol=1e-6)
    np.testing.assert_allclose(
        ranges.of(2, normalized=True), np.array(expected) / 9, rtol=1e-6, atol=1e-6
    )
    assert ranges.of(1, normalized=False).shape == (2, 1)
    np.testing.assert_allclose(ranges.of(1, normalized=True), [[-10.2 / 4], [10.6 / 4]], rtol=1e-6)


def test_a_dimension_that_is_always_zero_is_no_trouble() -> None:
    ranges = EmbeddingRanges.measure(np.array([[0, 1], [0, 2]], dtype=np.float32))
    assert ranges.of(1, normalized=True).tolist() == [[0], [0]]


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "ranges.npy"
    written = EmbeddingRanges.measure(VECTORS)
    written.write(path)
    read = EmbeddingRanges.read(path, 2)
    np.testing.assert_array_equal(read.extremes, written.extremes)
    np.testing.assert_array_equal(read.lengths, written.lengths)
    with pytest.raises(ArtifactError, match=r"ranges.npy is not float32 of the shape \[3, 4\]: ex"):
        EmbeddingRanges.read(path, 4)


def test_a_pickle_is_never_read(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ArtifactError, match=r"p.npy is not float32 of the shape \[3, 2\]: export"):
        EmbeddingRanges.read(tmp_path / "p.npy", 2)


@pytest.mark.parametrize(
    "header",
    [
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (3, 9999999999)}",
        b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': True, 'shape': (3, 2)}",
        b"\x93NUMPY\x01\x00v\x00" + b"(" * 118,
        b"\x93NUMPY\x09\x00",
        b"PK\x05\x06" + b"\0" * 18,
        b"",
    ],
    ids=["huge", "by columns", "deep", "newer", "npz", "empty"],
)
def test_a_header_that_is_none(tmp_path: Path, header: bytes) -> None:
    path = tmp_path / "r.npy"
    path.write_bytes(header.ljust(127) + b"\n" + bytes(24))
    with pytest.raises(ArtifactError, match=r"r.npy is not float32 of the shape \[3, 2\]: export"):
        EmbeddingRanges.read(path, 2)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ([[0, np.nan], [1, 1], [1, 1]], "ranges that are none"),
        ([[0, 0], [1, np.inf], [1, 1]], "ranges that are none"),
        ([[0, 2], [1, 1], [1, 1]], "ranges that are none"),
        ([[0, 0], [1, 1], [1, 0]], "lengths that are none"),
        ([[0, 0], [1, 1], [np.nan, 1]], "lengths that are none"),
    ],
)
def test_ranges_that_are_none(tmp_path: Path, rows: list[list[float]], problem: str) -> None:
    np.save(tmp_path / "r.npy", np.array(rows, np.float32))
    with pytest.raises(ArtifactError, match=rf"r.npy holds {problem}: export the artifact again"):
        EmbeddingRanges.read(tmp_path / "r.npy", 2)


def test_an_export_stores_them(tiny_artifact: Artifact) -> None:
    record = tiny_artifact.manifest.embedding_ranges
    assert record is not None
    assert record.data == "sentences shipped with Lanner"
    assert record.vectors == len(shipped_sentences()) + 5  # five vectors are joined from several
    model = load(tiny_artifact.directory, variant="fp32")
    vectors = model.encode(shipped_sentences())
    lowest, highest = model.embedding_ranges()
    # Twice as wide: the calibration vectors leave a quarter of the width free on both sides.
    margin = (highest - lowest) / 4
    assert (vectors >= lowest + 0.999 * margin).all()
    assert (vectors <= highest - 0.999 * margin).all()


@pytest.mark.parametrize("precision", ["int8", "uint8", "binary", "ubinary"])
@pytest.mark.parametrize(
    "options", [{}, {"truncate_dim": 6, "normalize_embeddings": True}], ids=str
)
def test_vectors_are_those_of_sentence_transformers(
    tiny_artifact: Artifact, precision: str, options: dict[str, bool | int]
) -> None:
    reference = pytest.importorskip("sentence_transformers.util", reason="the reference")
    model: Any = load(tiny_artifact.directory, variant="fp32")
    texts = shipped_sentences()[:40]
    vectors = model.encode(texts, **options)
    expected = reference.quantize_embeddings(vectors, precision, model.embedding_ranges(**options))
    np.testing.assert_array_equal(model.encode(texts, precision=precision, **options), expected)


def test_other_heads_have_none(classifier_artifact: Artifact) -> None:
    assert classifier_artifact.manifest.embedding_ranges is None
    assert "embedding_ranges.npy" not in classifier_artifact.manifest.files
