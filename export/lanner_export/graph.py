"""From a loaded checkpoint to one ONNX graph, pooling and all.

torch's exporter writes scaled_dot_product_attention, gelu and layer_norm as one operator each from
operator set 23 on (https://onnx.ai/onnx/operators/onnx__Attention.html). They are fused from the
start, whatever transformers' own code around them looks like, and stay standard ONNX.
"""

import re
from pathlib import Path
from typing import Any

import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from lanner.errors import ExportError, UnsupportedError
from lanner_export.quiet import quiet

#: The first operator set with Attention; TensorRT's parsers read up to 24.
OPSET = 23
INPUTS = ("input_ids", "attention_mask")
OUTPUT = "sentence_embedding"
#: Protobuf's limit, less room for the graph.
MOST_BYTES = 2**31 - 2**24
_ANSI_CODES = re.compile(r"\x1b\[[0-9;]*m")


class SentenceGraph(torch.nn.Module):
    """Token ids to sentence vectors: the transformer and every module behind it."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        transformer, *rest = model
        self.transformer = transformer.auto_model
        self.rest = torch.nn.ModuleList(rest)
        # Learned positions may start anywhere, as RoBERTa's do; rotary ones start at 0.
        self.is_rotary = any("Rotary" in type(m).__name__ for m in self.transformer.modules())

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Takes int64 [batch, length] twice, returns float32 [batch, dim]."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.is_rotary:
            # By default the positions have a batch of one, which ONNX's RotaryEmbedding refuses.
            positions = torch.arange(input_ids.shape[1], device=input_ids.device)
            inputs["position_ids"] = positions.unsqueeze(0).expand_as(input_ids)
        hidden = self.transformer(**inputs)[0]
        features = {"token_embeddings": hidden, "attention_mask": attention_mask}
        for module in self.rest:
            features = module(features)
        vectors: torch.Tensor = features[OUTPUT]
        return vectors


def write_fp32(model: Any, path: Path) -> None:
    """Writes the float32 graph of a loaded checkpoint.

    Args:
        model: A `SentenceTransformer`.
        path: Where the ONNX file goes.

    Raises:
        ExportError: torch could not trace or translate the model.
        UnsupportedError: Its weights do not fit into one ONNX file.
    """
    size = sum(parameter.numel() for parameter in model.parameters()) * 4
    if size > MOST_BYTES:
        msg = (
            f"the checkpoint has {size / 1e9:.1f} GB of float32 weights, and an ONNX file holds at "
            "most 2 GB: Lanner does not split weights over files yet"
        )
        raise UnsupportedError(msg)
    # Sizes that nothing else in the graph has, so that no other dimension is taken for them.
    ids = torch.ones((3, 7), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    dynamic = {0: "batch", 1: "length"}
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                SentenceGraph(model).eval(),
                (ids, mask),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(INPUTS),
                output_names=[OUTPUT],
                dynamic_shapes=dict.fromkeys(INPUTS, dynamic),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = _ANSI_CODES.sub("", str(error)).strip().splitlines()[0]
        what = type(model[0].auto_model).__name__
        msg = f"torch {torch.__version__} could not export {what}: {reason}"
        raise ExportError(msg) from error
    if program is None:  # torch's signature allows it; its code with dynamo=True does not do it
        msg = "torch.onnx.export returned no program"
        raise ExportError(msg)
    # The exporter notes the source line behind each node: paths of this machine, and a third of
    # the file's text.
    cleared: ir.Model = ClearMetadataAndDocStringPass()(program.model).model
    cleared.producer_name, cleared.producer_version = "lanner", None
    ir.save(cleared, path)
