from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.checkpoints import word_rows

from lanner.errors import CheckpointError
from lanner_export.graph.matrix_file import MatrixFile, read_safetensors

TABLE = np.arange(12).reshape(4, 3)


@pytest.mark.parametrize("dtype", ["<f2", "<f4", "<f8", ">f4", "i1", "<i8"])
def test_blocks_are_float32_in_order(
    tmp_path: Path, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanner_export.graph.matrix_file._BLOCK_BYTES", 3 * 12)  # three rows
    matrix = word_rows(tmp_path, TABLE, dtype=dtype, offset_bytes=24)
    blocks = list(matrix.blocks())
    assert [block.dtype for block in blocks] == [np.float32, np.float32]
    assert [block.tolist() for block in blocks] == [TABLE[:3].tolist(), TABLE[3:].tolist()]
    assert matrix.array().tolist() == TABLE.tolist()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e50])
def test_values_that_are_no_floats_are_refused(
    tmp_path: Path, bad: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanner_export.graph.matrix_file._BLOCK_BYTES", 2 * 12)  # two rows
    values = TABLE.astype(np.float64)
    values[3, 1] = bad
    with pytest.raises(CheckpointError, match=r"row 3 of .*rows has a value that is not a finite"):
        list(word_rows(tmp_path, values, dtype="<f8").blocks())


def test_a_file_that_was_cut_off_is_refused(tmp_path: Path) -> None:
    matrix = word_rows(tmp_path, TABLE)
    matrix.path.write_bytes(matrix.path.read_bytes()[:-4])
    with pytest.raises(CheckpointError, match=r"rows ends before its last row: copy or download"):
        list(matrix.blocks())


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "float32", "float64", "int8"])
def test_tensors_lie_where_safetensors_put_them(tmp_path: Path, kind: str) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs the export extra")
    save_file = pytest.importorskip("safetensors.torch").save_file
    table = torch.from_numpy(TABLE).to(getattr(torch, kind))
    tensors = {"a": torch.ones(5), "table": table, "z": torch.arange(3)}
    save_file(tensors, tmp_path / "m.safetensors", metadata={"format": "pt"})
    found = read_safetensors(tmp_path / "m.safetensors")
    assert sorted(found) == ["a", "table", "z"]
    shape, dtype, place = found["table"]
    matrix = MatrixFile(tmp_path / "m.safetensors", (shape[0], shape[1]), dtype, place)
    assert np.concatenate(list(matrix.blocks())).tolist() == TABLE.tolist()


def test_files_that_are_no_safetensors_are_refused(tmp_path: Path) -> None:
    torch: Any = pytest.importorskip("torch", reason="needs the export extra")
    path = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match=r"there is no .*m.safetensors: save the checkpoint"):
        read_safetensors(path)
    pytest.importorskip("safetensors.torch").save_file({"a": torch.ones(5)}, path)
    whole = path.read_bytes()
    for damaged in (b"", whole[:20], whole[:-1], b"\xff" * 8 + whole[8:]):
        path.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"m.safetensors is not a whole safetensors fi"):
            read_safetensors(path)
    pytest.importorskip("safetensors.torch").save_file({"a": torch.ones(5).bool()}, path)
    with pytest.raises(CheckpointError, match=r"holds 'a' as BOOL, which Lanner does not read"):
        read_safetensors(path)
