from pathlib import Path

import pytest

pytest.importorskip("torch", reason="the exporter")
pytest.importorskip("scipy", reason="needs lanner-bench")

from lanner_perf.peers.stock import make_stock
from lanner_perf.subjects.subject import SubjectError


@pytest.mark.slow
def test_what_cannot_be_quantized_says_why(tiny_checkpoint: Path, tmp_path: Path) -> None:
    # With a Dense module: the quantizer transposes its weight, but not the shape that it noted.
    with pytest.raises(SubjectError, match=r"differ in dimension 0: \(32\) vs \(12\)$"):
        make_stock(str(tiny_checkpoint), tmp_path / "stock.onnx")
    assert not list(tmp_path.iterdir())
