from pathlib import Path

import numpy as np
import onnx
import pytest

from lanner.artifact.artifact import Artifact
from lanner.engines.onnxruntime import open_session
from lanner_perf.peers import fused
from lanner_perf.subjects.subject import SubjectError


def test_the_fused_graph_answers_as_the_graph_does(tiny_artifact: Artifact, tmp_path: Path) -> None:
    path = tmp_path / "fused.onnx"
    source = tiny_artifact.directory / "model.fp32.onnx"
    fused.make_fused(source, path)
    operators = [node.op_type for node in onnx.load(path).graph.node]
    assert "QAttention" in operators
    assert "Attention" not in operators
    ids = np.random.default_rng(0).integers(5, 40, (3, 9))
    mask = np.ones_like(ids)
    mask[1, 5:] = 0
    feed = {"input_ids": ids, "attention_mask": mask}
    expected, found = (open_session(file).run(None, feed)[0] for file in (source, path))
    assert ((expected * found).sum(axis=1) > 0.98).all()


def test_other_attention_is_refused(tmp_path: Path) -> None:
    graph = onnx.parser.parse_model(
        """
        <ir_version: 10, opset_import: ["": 23]>
        g (int64[b,n] attention_mask, bool[n,n] m, float[b,n,8] x) => (float[b,n,8] y)
        { y = Attention<q_num_heads = 2, kv_num_heads = 2>(x, x, x, m) }
        """
    )
    onnx.save(graph, tmp_path / "plain.onnx")
    with pytest.raises(SubjectError, match=r"has more than plain projections and padding$"):
        fused.make_fused(tmp_path / "plain.onnx", tmp_path / "fused.onnx")
