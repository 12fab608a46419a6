from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.checkpoints import word_rows

from lanner.engines.onnxruntime import open_session
from lanner.errors import CheckpointError
from lanner_export.graph.lookup import LookupTable, write_lookup_graph
from lanner_export.graph.matrix_file import MatrixFile
from lanner_export.graph.model_file import data_path

#: Small whole numbers with a largest of 127, which signed bytes hold exactly.
TABLE = np.array([[127, 0, 0], [0, 127, -127], [0, 0, 0], [1, 2, 127]])
PRECISIONS = ("fp32", "int8")


def run(
    directory: Path, table: LookupTable, texts: list[list[int]], precision: str = "fp32"
) -> NDArray[np.float32]:
    write_lookup_graph(directory / "graph.onnx", table, precision)
    return answer(directory / "graph.onnx", texts)


def answer(path: Path, texts: list[list[int]]) -> NDArray[np.float32]:
    length = max(map(len, texts))
    ids, mask = np.zeros((2, len(texts), length), np.int64)
    for row, text in enumerate(texts):
        ids[row, : len(text)], mask[row, : len(text)] = text, 1
    feed = {"input_ids": ids, "attention_mask": mask}
    vectors: NDArray[np.float32] = open_session(path).run(None, feed)[0]
    return vectors


def require_equal(vectors: NDArray[np.float32], expected: Any) -> None:
    np.testing.assert_allclose(vectors, np.array(expected, np.float64), rtol=1e-6)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_mean_of_the_rows(tmp_path: Path, precision: str) -> None:
    vectors = run(
        tmp_path, LookupTable(word_rows(tmp_path, TABLE)), [[0, 1], [3], [], [2]], precision
    )
    expected = [[63.5, 63.5, -63.5], [1, 2, 127], [0, 0, 0], [0, 0, 0]]
    require_equal(vectors, expected)
    assert vectors.dtype == np.float32


@pytest.mark.parametrize("precision", PRECISIONS)
def test_weights_and_what_the_sum_is_divided_by(tmp_path: Path, precision: str) -> None:
    rows, weights = word_rows(tmp_path, TABLE), np.array([3, 1, 1, 0], np.float32)
    by_count = LookupTable(rows, weights=weights)
    by_weight = LookupTable(rows, weights=weights, is_weighted_mean=True)
    texts = [[0, 1], [0, 3], [3]]
    require_equal(
        run(tmp_path, by_count, texts, precision),
        [[190.5, 63.5, -63.5], [190.5, 0, 0], [0, 0, 0]],
    )
    require_equal(
        run(tmp_path, by_weight, texts, precision),
        [[95.25, 31.75, -31.75], [127, 0, 0], [0, 0, 0]],
    )


@pytest.mark.parametrize("precision", PRECISIONS)
def test_ignored_tokens_do_not_count(tmp_path: Path, precision: str) -> None:
    table = LookupTable(word_rows(tmp_path, TABLE), ignored_ids=(1, 3))
    vectors = run(tmp_path, table, [[1, 0, 3, 0, 2], [3, 1, 1], []], precision)
    require_equal(vectors, [[254 / 3, 0, 0], [0, 0, 0], [0, 0, 0]])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_mapping_shares_rows_and_weights_stay_by_token(tmp_path: Path, precision: str) -> None:
    table = LookupTable(
        word_rows(tmp_path, TABLE),
        mapping=np.array([3, 3, 0, 0, 1]),
        weights=np.array([1, 2, 3, 4, 5], np.float32),
        ignored_ids=(4,),
    )
    assert (table.vocabulary_size, table.dimension) == (5, 3)
    vectors = run(tmp_path, table, [[1], [0, 2, 4], [3]], precision)
    require_equal(vectors, [[2, 4, 254], [191, 1, 63.5], [508, 0, 0]])


@pytest.mark.parametrize("precision", PRECISIONS)
def test_normalised_vectors_have_length_one_or_zero(tmp_path: Path, precision: str) -> None:
    table = LookupTable(word_rows(tmp_path, TABLE), normalize=True)
    vectors = run(tmp_path, table, [[1], [0, 1], [2], []], precision)
    half, third = 0.5**0.5, 3**-0.5
    expected = [[0, half, -half], [third, third, -third], [0, 0, 0], [0, 0, 0]]
    require_equal(vectors, expected)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_batch_without_a_token_is_all_zeros(tmp_path: Path, precision: str) -> None:
    table = LookupTable(word_rows(tmp_path, TABLE), normalize=True, ignored_ids=(1,))
    assert run(tmp_path, table, [[], []], precision).tolist() == [[0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    "dtype", ["<f2", "<f4", "<f8", "i1", ">f4"], ids=["half", "single", "double", "int8", "big"]
)
def test_any_numbers_are_taken_as_float32(tmp_path: Path, dtype: str) -> None:
    rows = word_rows(tmp_path, TABLE, dtype=dtype, offset_bytes=24)
    assert run(tmp_path, LookupTable(rows), [[0], [3]]).tolist() == [[127, 0, 0], [1, 2, 127]]


def test_int8_is_near_float32_whatever_the_size_of_a_row(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    sizes = 10.0 ** generator.integers(-20, 20, (1000, 1))
    values = (generator.normal(size=(1000, 300)) * sizes).astype(np.float32)
    values[7] = 1e-45  # the smallest positive float
    vectors = run(
        tmp_path, LookupTable(word_rows(tmp_path, values)), [[i] for i in range(1000)], "int8"
    )
    assert np.isfinite(vectors).all()
    kept = np.arange(1000) != 7
    a, b = values[kept].astype(np.float64), vectors[kept].astype(np.float64)
    cosines = (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
    assert cosines.min() > 0.9999


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_table_lies_beside_the_graph_and_stays_as_it_is(tmp_path: Path, precision: str) -> None:
    onnx: Any = pytest.importorskip("onnx")
    values = np.random.default_rng(0).normal(size=(30_000, 200)).astype(np.float32)
    table = LookupTable(
        word_rows(tmp_path, values),
        weights=np.ones(30_000, np.float32),
        mapping=np.arange(30_000),
        ignored_ids=(1,),
        normalize=True,
    )
    path = tmp_path / "graph.onnx"
    write_lookup_graph(path, table, precision)
    onnx.checker.check_model(path, full_check=True)
    assert path.stat().st_size < 10_000
    bytes_a_number = 1 if precision == "int8" else 4
    size = data_path(path).stat().st_size
    assert 0 <= size - 30_000 * (200 * bytes_a_number + 8) < 30_000 * 4 + 3 * 2**16
    # ONNX Runtime may fold constants; folding the rows would make the whole table float32.
    open_session(path, save_optimized_to=tmp_path / "optimized.onnx")
    optimized = onnx.load(tmp_path / "optimized.onnx", load_external_data=False)
    rows = next(t for t in optimized.graph.initializer if t.name == "rows")
    wanted = onnx.TensorProto.INT8 if precision == "int8" else onnx.TensorProto.FLOAT
    assert (rows.data_type, list(rows.dims)) == (wanted, [30_000, 200])
    large = {t.name for t in optimized.graph.initializer if np.prod(t.dims) > 30_000}
    assert large == {"rows"}


def test_the_graph_moves_with_its_table(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.mkdir()
    write_lookup_graph(first / "g.onnx", LookupTable(word_rows(tmp_path, TABLE)), "fp32")
    assert sorted(path.name for path in first.iterdir()) == ["g.onnx", "g.onnx.data"]
    first.rename(second)
    assert answer(second / "g.onnx", [[3]]).tolist() == [[1, 2, 127]]


def test_tables_that_cannot_be_looked_up_are_refused(tmp_path: Path) -> None:
    rows = word_rows(tmp_path, TABLE)
    with pytest.raises(CheckpointError, match=r"rows has weights of shape \(2,\) for 4 tokens"):
        LookupTable(rows, weights=np.ones(2, np.float32))
    with pytest.raises(CheckpointError, match=r"rows has a weight that is not a finite number"):
        LookupTable(rows, weights=np.array([1, np.nan, 1, 1], np.float32))
    with pytest.raises(CheckpointError, match=r"rows has a mapping to rows that do not exist"):
        LookupTable(rows, mapping=np.array([0, 4]))
    with pytest.raises(CheckpointError, match=r"rows has a mapping of int64 of shape \(1, 1\) i"):
        LookupTable(rows, mapping=np.array([[0]]))
    with pytest.raises(CheckpointError, match=r"rows has a mapping of float64 of shape \(1,\) in"):
        LookupTable(rows, mapping=np.array([0.0]))
    with pytest.raises(CheckpointError, match=r"rows has an empty table: save the checkpoint"):
        LookupTable(MatrixFile(tmp_path / "rows", (0, 3)))
