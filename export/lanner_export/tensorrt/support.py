"""The operators that TensorRT's ONNX parsers accept, by version, as data with its sources.

`support/*.json` hold the tables of onnx-tensorrt's docs/operators.md: each operator with the types
that it computes with. A graph is compared with them before the builder runs, and on machines
without a builder.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path

import onnx_ir as ir
from onnx_ir.passes.common import ShapeInferencePass

from lanner.errors import UnsupportedError
from lanner_export.graph.edits import constant
from lanner_export.graph.model_file import load

#: The versions to check: the oldest that Lanner builds with, one with ONNX's Attention, and the
#: newest whose notes were read.
VERSIONS = ("10.13", "10.15", "11.4")
_TYPES = {
    ir.DataType.FLOAT: "FP32",
    ir.DataType.FLOAT16: "FP16",
    ir.DataType.BFLOAT16: "BF16",
    ir.DataType.FLOAT8E4M3FN: "FP8",
    ir.DataType.INT8: "INT8",
    ir.DataType.INT32: "INT32",
    ir.DataType.INT64: "INT64",
    ir.DataType.BOOL: "BOOL",
}
#: The index of the input with an operator's type, if it is not the first.
_TYPED_INPUTS = {"Where": 1}


@dataclass(frozen=True)
class ParserSupport:
    """The operators that one version's parser accepts.

    Attributes:
        tensorrt: The version.
        opset: The first and the last version of ONNX's operator set.
        sources: The sources of the table.
        note: A remark on how well the sources apply to this version.
        constant_inputs: Operators whose second input must be constant, and its name.
        operators: The accepted operators, with the types that they compute with.
    """

    tensorrt: str
    opset: tuple[int, int]
    sources: list[str]
    note: str
    constant_inputs: Mapping[str, str]
    operators: Mapping[str, list[str]]

    def problems(self, model: ir.Model) -> list[str]:
        """Return the reasons to refuse a graph, one per node; empty if it is accepted."""
        first, last = self.opset
        opset = model.opset_imports[""]
        found = []
        if not first <= opset <= last:
            found.append(f"operator set {opset}: it takes {first} to {last}")
        problems = ((node, self._problem(node)) for node in model.graph)
        return found + [f"{node.op_type} {node.name}: {text}" for node, text in problems if text]

    def _problem(self, node: ir.Node) -> str:
        types = self.operators.get(node.op_type)
        if node.domain or types is None:
            return "it does not take this operator"
        kind = _type(node)
        if kind and kind not in types:
            return f"it takes {', '.join(types)}, not {kind}"
        inputs = node.inputs
        what = self.constant_inputs.get(node.op_type)
        if what and len(inputs) > 1 and inputs[1] is not None and constant(inputs[1]) is None:
            return f"its {what} must be constant"
        return ""


@cache
def parser_support(version: str) -> ParserSupport:
    """Return the table of one of `VERSIONS`."""
    resource = files("lanner_export.tensorrt").joinpath("support", f"{version}.json")
    content = json.loads(resource.read_text(encoding="utf-8"))
    return ParserSupport(**{**content, "opset": tuple(content["opset"])})


def require_parsers(path: Path) -> None:
    """Check that all parsers accept a graph.

    Raises:
        UnsupportedError: One of `VERSIONS` does not accept a node; the message names the first such
            node, its operator and the version.
    """
    model = load(path)
    ShapeInferencePass()(model)
    for version in VERSIONS:
        problems = parser_support(version).problems(model)
        if problems:
            more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
            msg = (
                f"the ONNX parser of TensorRT {version} would refuse this model at "
                f"{problems[0]}{more}: run the artifact in another engine, and report it"
            )
            raise UnsupportedError(msg)


def _type(node: ir.Node) -> str:
    """Return the type that a node computes with; empty if it is unknown or has no name."""
    index = _TYPED_INPUTS.get(node.op_type, 0)
    value = node.inputs[index] if len(node.inputs) > index else None
    return "" if value is None or value.dtype is None else _TYPES.get(value.dtype, "")
