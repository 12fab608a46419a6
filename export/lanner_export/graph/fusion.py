"""Counting the fused operators of the graph that ONNX Runtime really runs.

A fusion disappears silently when a framework changes its code. So fused operators are counted after
ONNX Runtime's own optimization, with the settings of the runtime.
"""

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import onnx

from lanner.engines.onnxruntime import open_session

#: Fused operators, in display order.
FUSED_OPS = (
    "Attention",
    "MultiHeadAttention",
    "QAttention",
    "Gelu",
    "BiasGelu",
    "FastGelu",
    "LayerNormalization",
    "SkipLayerNormalization",
    "MatMulIntegerToFloat",
    "DynamicQuantizeMatMul",
)
_ATTENTION_OPS = ("Attention", "MultiHeadAttention", "QAttention")
_GELU_OPS = ("Gelu", "BiasGelu", "FastGelu")
_LAYER_NORM_OPS = ("LayerNormalization", "SkipLayerNormalization")


def count_fused_ops(path: Path) -> dict[str, int]:
    """Count each of `FUSED_OPS` in the optimized graph, without those that do not occur.

    Args:
        path: An ONNX file.

    Raises:
        EngineError: ONNX Runtime refused the file.
    """
    # Next to the file: the disk is most likely to have room there.
    with tempfile.TemporaryDirectory(prefix="lanner-", dir=path.parent) as directory:
        optimized = Path(directory) / "optimized.onnx"
        open_session(path, save_optimized_to=optimized, maps_weights=True, saves_weights_apart=True)
        return count_written_ops(optimized)


def count_written_ops(path: Path) -> dict[str, int]:
    """Count each of `FUSED_OPS` in an unchanged file, without those that do not occur.

    Args:
        path: An ONNX file.
    """
    graph = onnx.load(path, load_external_data=False).graph
    counts = Counter(node.op_type for node in graph.node)
    return {name: counts[name] for name in FUSED_OPS if counts[name]}


def lost_fusions(fused_ops: dict[str, int], model: Any, layers: int) -> list[str]:
    """Return the parts of the checkpoint's model that are not single operators in the graph.

    Args:
        fused_ops: The result of `count_fused_ops`.
        model: The checkpoint's model in torch, or None if nothing was traced. A module that
            several layers share counts once.
        layers: Encoder layers, each with one attention.

    Returns:
        A few words for each kind of lost fusion, for example ``"2 of 6 attentions"``.
    """
    if model is None:
        return []
    modules = [type(module).__name__ for module in model.modules()]
    expected = {
        "attentions": (layers, _ATTENTION_OPS),
        "GELUs": (sum("GELU" in name for name in modules), _GELU_OPS),
        "layer norms": (modules.count("LayerNorm"), _LAYER_NORM_OPS),
    }
    lost = []
    for name, (count, operators) in expected.items():
        missing = count - sum(fused_ops.get(operator, 0) for operator in operators)
        if missing > 0:
            lost.append(f"{missing} of {count} {name}")
    return lost
