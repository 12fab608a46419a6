from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from lanner.errors import InputError, InputTypeError
from lanner.vectors import precision as embedding_precision
from lanner.vectors.precision import PRECISIONS, QuantizedVectors, quantize_embeddings

VECTORS = np.array([[-1.0, 0.0, 0.5], [0.25, -0.001, 7.0]], dtype=np.float32)
# A step is 1/128 in the first two dimensions; the third has only one value.
RANGES = np.array([[-1, -1, 0.5], [127 / 128, 127 / 128, 0.5]], dtype=np.float32)
BYTES = [[0, 128, 0], [160, 127, 6]]


def test_bytes_by_hand() -> None:
    unsigned = quantize_embeddings(VECTORS, "uint8", RANGES)
    assert unsigned.dtype == np.uint8
    assert unsigned.tolist() == BYTES
    signed = quantize_embeddings(VECTORS, "int8", RANGES)
    assert signed.dtype == np.int8
    assert signed.tolist() == [[value - 128 for value in row] for row in BYTES]


def test_bits_by_hand() -> None:
    vector = [[1, 0, -1, 2, 0.1, -0.1, 1, 1, -1, 1]]  # 1001 1011, then 01 and six zeros
    unsigned = quantize_embeddings(vector, "ubinary")
    assert unsigned.dtype == np.uint8
    assert unsigned.tolist() == [[0b10011011, 0b01000000]]
    signed = quantize_embeddings(vector, "binary")
    assert signed.dtype == np.int8
    assert signed.tolist() == [[0b10011011 - 128, 0b01000000 - 128]]


def test_what_is_outside_of_the_ranges_is_clipped() -> None:
    beyond = [[-9.0, 9.0, 9e9], [-np.inf, np.inf, 0.0]]
    assert quantize_embeddings(beyond, "uint8", RANGES).tolist() == [[0, 255, 255], [0, 255, 0]]
    assert quantize_embeddings(beyond, "int8", RANGES).tolist() == [
        [-128, 127, 127],
        [-128, 127, -128],
    ]


def test_one_vector_gives_one() -> None:
    assert quantize_embeddings(VECTORS[1], "uint8", RANGES).tolist() == BYTES[1]
    assert quantize_embeddings(VECTORS[1], "ubinary").tolist() == [0b10100000]
    assert quantize_embeddings(VECTORS[1], "float32").tolist() == VECTORS[1].tolist()


@pytest.mark.parametrize("dimension", [1, 10, 384])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_every_bit_is_that_of_sentence_transformers(precision: str, dimension: int) -> None:
    quantization = pytest.importorskip("sentence_transformers.util", reason="the reference")
    generator = np.random.default_rng(0)
    vectors = generator.standard_normal((1000, dimension), dtype=np.float32)
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)]) * np.float32(0.7)
    ours = quantize_embeddings(vectors, precision, ranges)
    theirs = quantization.quantize_embeddings(vectors, precision, ranges)
    assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(ours, theirs)
    ours = quantize_embeddings(vectors, precision, calibration_embeddings=vectors[:200])
    theirs = quantization.quantize_embeddings(
        vectors, precision, calibration_embeddings=vectors[:200]
    )
    np.testing.assert_array_equal(ours, theirs)


def test_tensors_and_lists_of_vectors_will_do() -> None:
    assert quantize_embeddings(list(VECTORS), "uint8", RANGES.tolist()).tolist() == BYTES
    torch = pytest.importorskip("torch", reason="needs the export extra")
    tensor = torch.from_numpy(VECTORS)
    assert quantize_embeddings(tensor, "uint8", RANGES).tolist() == BYTES
    with pytest.raises(InputTypeError, match=r"embeddings are torch.uint8 already: quantize the"):
        quantize_embeddings(tensor.to(torch.uint8), "uint8", RANGES)


@pytest.mark.parametrize(("precision", "width"), [("int8", 12), ("binary", 2), ("float32", 12)])
def test_no_vectors_give_none(precision: str, width: int) -> None:
    quantized = quantize_embeddings(np.empty((0, 12), np.float32), precision)
    assert quantized.shape == (0, width)
    assert quantize_embeddings([], precision).shape == (0, 0)


def test_a_block_at_a_time_is_all_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 12), dtype=np.float32)
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    expected = {name: quantize_embeddings(vectors, name, ranges) for name in PRECISIONS}
    monkeypatch.setattr(embedding_precision, "_ROWS_AT_ONCE", 7)
    for name, values in expected.items():
        np.testing.assert_array_equal(quantize_embeddings(vectors, name, ranges), values)
    vectors[23, 3] = np.nan
    with pytest.raises(
        InputError, match=r"embedding at index 23 holds NaN, which binary cannot represent"
    ):
        quantize_embeddings(vectors, "binary")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("int4",), r"no precision 'int4': use float32, int8, uint8, binary, ubinary"),
        (("int8",), r"precision 'int8' needs the range of each dimension: pass ranges"),
        (("uint8", RANGES[:, :2]), r"ranges must be the .*, \[2, 3\], not \[2, 2\]"),
        (("uint8", RANGES[::-1]), r"ranges must be finite, and no lowest value may exceed"),
        (
            ("uint8", RANGES * np.inf),
            r"ranges must be finite",
        ),
        (("int8", None, []), r"calibration_embeddings holds no vector: pass a few hundred"),
    ],
    ids=["name", "missing", "width", "upside down", "infinite", "no calibration"],
)
def test_what_cannot_be_quantized_says_why(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        quantize_embeddings(VECTORS, *arguments)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (VECTORS.astype(np.int8), r"embeddings are int8 already: quantize the float32 vectors"),
        (["a text"], r"embeddings must be vectors of numbers, all of one length"),
    ],
)
def test_what_is_no_float_vector_is_refused(embeddings: Any, message: str) -> None:
    with pytest.raises(InputTypeError, match=message):
        quantize_embeddings(embeddings, "binary")


def test_what_quantized_vectors_stand_for() -> None:
    expected = [[-1 + 0.5 / 128, 0.5 / 128, 0.5], [0.25 + 0.5 / 128, -0.5 / 128, 0.5]]
    for precision in ("int8", "uint8"):
        values = quantize_embeddings(VECTORS, precision, RANGES)
        decoded = QuantizedVectors(values, precision, dimension=3, ranges=RANGES).decoded()
        assert decoded.dtype == np.float32
        np.testing.assert_allclose(decoded, expected, atol=1e-7)
    for precision in ("binary", "ubinary"):
        values = quantize_embeddings(VECTORS, precision)
        decoded = QuantizedVectors(values, precision, dimension=3).decoded()
        assert decoded.dtype == np.float32
        assert decoded.tolist() == [[-1, -1, 1], [1, -1, 1]]


@given(seed=st.integers(0, 1 << 30), spread=st.floats(1e-3, 1e3), middle=st.floats(-10, 10))
def test_a_byte_is_half_a_step_off_at_most(seed: int, spread: float, middle: float) -> None:
    vectors = np.random.default_rng(seed).normal(middle, spread, (20, 5)).astype(np.float32)
    ranges = np.stack([vectors.min(axis=0), vectors.max(axis=0)])
    for precision in ("int8", "uint8"):
        values = quantize_embeddings(vectors, precision, ranges)
        decoded = QuantizedVectors(values, precision, dimension=5, ranges=ranges).decoded()
        step = (ranges[1] - ranges[0]) / 255
        assert (np.abs(decoded - vectors) <= 0.501 * step + 1e-5).all()


@pytest.mark.parametrize(
    ("values", "precision", "error", "message"),
    [
        (np.zeros((2, 3), np.uint8), "int8", InputTypeError, r"must be int8 for the precision 'in"),
        (np.zeros((2, 3)), "binary", InputTypeError, r"int8 for the precision 'binary', not float"),
        (
            np.zeros((2, 3), np.uint8),
            "ubinary",
            InputError,
            r"must have the shape \[n, 2\] for 16 dimensions in the precision 'ubinary', not",
        ),
        (
            np.zeros((2, 16), np.uint8),
            "uint8",
            InputError,
            r"'uint8' needs the range of each",
        ),
    ],
)
def test_what_cannot_be_read_says_why(
    values: ArrayLike, precision: str, error: type[InputError], message: str
) -> None:
    with pytest.raises(error, match=message):
        QuantizedVectors(np.asarray(values), precision, dimension=16)
