"""Which fused operators stand in the graph that ONNX Runtime will really run.

A fusion is lost without a word when a framework changes its code, so it is counted: after ONNX
Runtime's own optimisation, with the settings that the runtime uses.
"""

import tempfile
from collections import Counter
from pathlib import Path

import onnx

from lanner.engines.onnxruntime import open_session
from lanner.manifest import Architecture

#: Operators that each do what many would; in the order in which they are shown.
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


def count_fused_ops(path: Path) -> dict[str, int]:
    """How often each of `FUSED_OPS` stands in the optimised graph; those that do not are left out.

    Args:
        path: An ONNX file.

    Raises:
        EngineError: ONNX Runtime refused the file.
    """
    with tempfile.TemporaryDirectory(prefix="lanner-") as directory:
        optimized = Path(directory) / "optimized.onnx"
        open_session(path, save_optimized_to=optimized)
        graph = onnx.load(optimized, load_external_data=False).graph
    counts = Counter(node.op_type for node in graph.node)
    return {name: counts[name] for name in FUSED_OPS if counts[name]}


def unfused_layers(fused_ops: dict[str, int], architecture: Architecture) -> int:
    """Layers whose attention is not one operator."""
    return architecture.layers - sum(fused_ops.get(name, 0) for name in _ATTENTION_OPS)
