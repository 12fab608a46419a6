"""Tracing a loaded checkpoint into one ONNX graph, pooling included.

torch's exporter writes scaled_dot_product_attention, gelu and layer_norm as one operator each from
operator set 23 on (https://onnx.ai/onnx/operators/onnx__Attention.html). They are fused from the
start, whatever transformers' own code around them, and remain standard ONNX.
"""

import ast
import re
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from onnx_ir.passes.common import ClearMetadataAndDocStringPass

from lanner.errors import ExportError
from lanner_export.graph.layers import Layer
from lanner_export.graph.model_file import save
from lanner_export.graph.quiet import quiet
from lanner_export.graph.rewriting import rewrite
from lanner_export.graph.tensors import EMBEDDING, INPUTS, OPSET, TYPE_IDS

#: The metadata of a constant that onnxscript folded: the names that it was made from.
_FOLDED_FROM = "pkg.onnxscript.optimizer.folded_from"
_ANSI_CODES = re.compile(r"\x1b\[[0-9;]*m")


class _Graph(torch.nn.Module):
    """A module around a transformer, which is told positions if it turns vectors by them.

    Args:
        transformer: A model of transformers.
    """

    def __init__(self, transformer: Any) -> None:
        super().__init__()
        self.transformer = transformer
        # Learned positions may start anywhere, for example RoBERTa's; rotary ones start at 0.
        self.needs_positions = any(
            "Rotary" in type(module).__name__ for module in transformer.modules()
        )

    def _transformed(
        self, input_ids: torch.Tensor, attention_mask: torch.Tensor, **others: torch.Tensor
    ) -> Any:
        if self.needs_positions:
            others["position_ids"] = _positions(input_ids)
        return self.transformer(input_ids=input_ids, attention_mask=attention_mask, **others)


class SentenceGraph(_Graph):
    """A module from token ids to sentence vectors: the transformer and every module behind it.

    Tokens of a prompt that is read but not pooled have 2 in the attention mask.

    Args:
        model: A `SentenceTransformer`.
        dimension: The number of leading dimensions of a vector to keep.
    """

    def __init__(self, model: Any, *, dimension: int) -> None:
        transformer, *rest = model
        super().__init__(transformer.auto_model)
        self.rest = torch.nn.ModuleList(rest)
        self.dimension = dimension
        self.pools_prompt = all(getattr(m, "include_prompt", True) for m in rest)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float32 [batch, dim] for two inputs int64 [batch, length]."""
        attended = pooled = attention_mask
        if not self.pools_prompt:
            attended, pooled = attention_mask.clamp(max=1), (attention_mask == 1).to(torch.int64)
        hidden = self._transformed(input_ids, attended)[0]
        features = {"token_embeddings": hidden, "attention_mask": pooled}
        for module in self.rest:
            features = module(features)
        vectors: torch.Tensor = features[EMBEDDING]
        return vectors[:, : self.dimension]


class ClassifierGraph(SentenceGraph):
    """A module from token ids to logits of a text, by layers on top of its vector.

    Args:
        model: A `SentenceTransformer`.
        dimension: The number of leading dimensions of a vector to keep.
        layers: The layers; the last gives the logits.
        normalizes: True to scale a vector to length 1 before the first layer.
    """

    def __init__(
        self, model: Any, *, dimension: int, layers: Sequence[Layer], normalizes: bool
    ) -> None:
        super().__init__(model, dimension=dimension)
        self.normalizes = normalizes
        self.layers = torch.nn.Sequential(*(_module(layer) for layer in layers))

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float32 [batch, labels] for two inputs int64 [batch, length]."""
        vectors = super().forward(input_ids, attention_mask)
        if self.normalizes:
            vectors = torch.nn.functional.normalize(vectors)
        logits: torch.Tensor = self.layers(vectors)
        return logits


_MODULES = {
    "identity": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "tanh": torch.nn.Tanh,
    "sigmoid": torch.nn.Sigmoid,
    "log-sigmoid": torch.nn.LogSigmoid,
}


def _module(layer: Layer) -> torch.nn.Module:
    outputs, inputs = layer.weights.shape
    linear = torch.nn.Linear(inputs, outputs)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(np.ascontiguousarray(layer.weights)))
        linear.bias.copy_(torch.from_numpy(np.ascontiguousarray(layer.bias)))
    return torch.nn.Sequential(linear, _MODULES[layer.activation]())


class LogitsGraph(_Graph):
    """A module from token ids to logits, of a text or of each token.

    Args:
        transformer: A model of transformers for sequence or token classification.
    """

    def forward(
        self,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        token_type_ids: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return logits, float32 [batch, labels] or [batch, length, labels]."""
        types = {} if token_type_ids is None else {TYPE_IDS: token_type_ids}
        logits: torch.Tensor = self._transformed(input_ids, attention_mask, **types).logits
        return logits


class TermsGraph(_Graph):
    """A module from token ids to weights of terms: SPLADE's pooling of a masked language model.

    Args:
        model: A model of transformers for masked language modelling.
        pooling: ``"max"`` or ``"sum"`` over the tokens of a text.
        logarithms: The number of times that log(1 + x) is taken of a positive logit, 1 or 2.
    """

    def __init__(self, model: Any, *, pooling: str, logarithms: int) -> None:
        super().__init__(model)
        self.pooling, self.logarithms = pooling, logarithms

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float32 [batch, vocabulary] for two inputs int64 [batch, length]."""
        logits = self._transformed(input_ids, attention_mask).logits
        # A logit of padding becomes 0, which is the weight of a term that no token has.
        logits = logits * attention_mask.unsqueeze(-1).to(torch.float32)
        if self.pooling == "max":
            # The logarithms keep the order, and one token of many is cheaper to take them of.
            return self._weights(logits.amax(dim=1))
        return self._weights(logits).sum(dim=1)

    def _weights(self, logits: torch.Tensor) -> torch.Tensor:
        weights = logits.relu()
        for _ in range(self.logarithms):
            weights = weights.log1p()
        return weights


class TokensGraph(_Graph):
    """A module from token ids to a vector for each token.

    Tokens that are answered but not read have 2 in the attention mask.

    Args:
        transformer: A transformer of transformers, without a head.
        rest: The modules behind it, of sentence-transformers, which change `token_embeddings`.
        attends_all: True if there are no such tokens.

    Attributes:
        unfit_passes: The rewrites that would change its answers: they take what is not read for
            filling, whose answer nobody reads.
    """

    def __init__(self, transformer: Any, rest: Sequence[Any], *, attends_all: bool) -> None:
        super().__init__(transformer)
        self.rest = torch.nn.ModuleList(rest)
        self.attends_all = attends_all
        self.unfit_passes: tuple[str, ...] = () if attends_all else ("one-mask",)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float32 [batch, length, dim] for two inputs int64 [batch, length]."""
        if not self.attends_all:
            attention_mask = (attention_mask == 1).to(torch.int64)
        features = {
            "token_embeddings": self._transformed(input_ids, attention_mask)[0],
            "attention_mask": attention_mask,
        }
        for module in self.rest:
            features = module(features)
        vectors: torch.Tensor = features["token_embeddings"]
        return vectors


def _positions(input_ids: torch.Tensor) -> torch.Tensor:
    # By default the positions have a batch size of one, which ONNX's RotaryEmbedding refuses.
    positions = torch.arange(input_ids.shape[1], device=input_ids.device)
    return positions.unsqueeze(0).expand_as(input_ids)


def write_fp32(
    graph: SentenceGraph | LogitsGraph | TermsGraph | TokensGraph,
    inputs: Sequence[str],
    output: str,
    path: Path,
    *,
    without_passes: Collection[str] = (),
) -> list[str]:
    """Write the float32 graph of a loaded checkpoint, rewritten for speed.

    Args:
        graph: The module to trace.
        inputs: Names of its inputs, in the order of its arguments.
        output: Name of its output.
        path: The path of the ONNX file.
        without_passes: Names of `lanner_export.graph.rewriting.PASSES` to leave out.

    Returns:
        The names of the passes that rewrote something.

    Raises:
        ExportError: torch could not trace or translate the model.
    """
    # Sizes that occur nowhere else in the graph, so that no other dimension is confused with them.
    ids = torch.ones((3, 7), dtype=torch.int64)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    examples = {INPUTS[0]: ids, INPUTS[1]: mask, TYPE_IDS: torch.zeros_like(ids)}
    dynamic = {0: "batch", 1: "length"}
    try:
        with quiet(), torch.no_grad():
            program = torch.onnx.export(
                graph.eval(),
                tuple(examples[name] for name in inputs),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(inputs),
                output_names=[output],
                dynamic_shapes=dict.fromkeys(inputs, dynamic),
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = _ANSI_CODES.sub("", str(error)).strip().splitlines()[0]
        what = type(graph.transformer).__name__
        msg = f"torch {torch.__version__} could not export {what}: {reason}"
        raise ExportError(msg) from error
    if program is None:  # torch's signature allows it; with dynamo=True it does not happen
        msg = "torch.onnx.export returned no program"
        raise ExportError(msg)
    _name_products(program.model)
    _name_transposed_weights(program.model)
    # The exporter records the source line of each node: paths of this machine, a third of the
    # file's text.
    model: ir.Model = ClearMetadataAndDocStringPass()(program.model).model
    model.producer_name, model.producer_version = "lanner", None
    applied = rewrite(model, without=without_passes)
    save(model, path)
    return applied


def _name_transposed_weights(model: ir.Model) -> None:
    # The exporter folds the transpose of a weight, and then names it val_93.
    initializers = model.graph.initializers
    for value in list(initializers.values()):
        origin = ast.literal_eval(value.metadata_props.get(_FOLDED_FROM, "[]"))
        if len(origin) == 1 and origin[0] not in initializers:
            value.name = origin[0]


def _name_products(model: ir.Model) -> None:
    """Name each matrix product, and each convolution, after its module in the checkpoint.

    Users see these names if some int8 products stay in float32.
    """
    taken = set()
    for node in model.graph:
        if node.op_type not in ("MatMul", "Conv"):
            continue
        scopes = ast.literal_eval(node.metadata_props.get("pkg.torch.onnx.name_scopes", "[]"))
        name = next((scope for scope in reversed(scopes[:-1]) if scope), node.name or "product")
        name = name.removeprefix("transformer.")
        while name in taken:  # a shared layer, such as ALBERT's
            stem, _, number = name.rpartition("#")
            name = f"{stem}#{int(number) + 1}" if stem else f"{name}#2"
        taken.add(name)
        node.name = name
