"""The operators that the parsers accept; every architecture's graph uses only these."""

from pathlib import Path
from typing import Any

import pytest
from tests.support.architectures import MATRIX
from tests.support.checkpoints import plain_checkpoint
from tests.support.traced_once import TracedOnce

onnx = pytest.importorskip("onnx", reason="needs the export extra")
torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

import numpy as np  # noqa: E402
import onnx_ir as ir  # noqa: E402
from tests.export.tensorrt.test_graph import FEEDS, traced  # noqa: E402

from lanner.engines import open_engine  # noqa: E402
from lanner.errors import UnsupportedError  # noqa: E402
from lanner_export.precision.half_precision import write_emulation  # noqa: E402
from lanner_export.tensorrt.graph import write_tensorrt_graph  # noqa: E402
from lanner_export.tensorrt.support import VERSIONS, parser_support, require_parsers  # noqa: E402


def save(path: Path, *nodes: Any, opset: int = 20, inputs: str = "INT64") -> Path:
    kind = getattr(onnx.TensorProto, inputs)
    given = onnx.helper.make_tensor_value_info("x", kind, ["batch", "length"])
    graph = onnx.helper.make_graph(nodes, "graph", [given], [])
    graph.output.append(onnx.ValueInfoProto(name=nodes[-1].output[0]))
    imports = [onnx.helper.make_opsetid("", opset)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    return path


@pytest.mark.parametrize("version", VERSIONS)
def test_a_table_says_where_it_is_from(version: str) -> None:
    support = parser_support(version)
    assert support.tensorrt == version
    assert all(source.startswith("https://github.com/") for source in support.sources)
    assert support.note
    assert support.opset[0] == 9
    known = {schema.name for schema in onnx.defs.get_all_schemas_with_history()}
    # The document also lists operators that onnx-tensorrt had before ONNX did.
    known |= {"ImageScaler", "ParametricSoftplus", "ScaledTanh", "SpaceToDepth"}
    assert set(support.operators) - known <= {"Scatter", "Upsample", "Swish", "TensorScatter"}


def test_attention_came_after_the_oldest() -> None:
    assert "Attention" not in parser_support("10.13").operators
    assert "Attention" in parser_support("10.15").operators
    assert "Attention" in parser_support("11.4").operators


def test_every_node_that_is_not_taken_is_named(tmp_path: Path) -> None:
    path = save(
        tmp_path / "graph.onnx",
        onnx.helper.make_node("BitShift", ["x", "x"], ["y"], name="first", direction="LEFT"),
        onnx.helper.make_node("Cos", ["y"], ["z"], name="second"),
    )
    model = ir.load(path)
    assert parser_support("10.13").problems(model) == [
        "BitShift first: it does not take this operator"
    ]
    message = (
        r"^the ONNX parser of TensorRT 10\.13 would refuse this model at BitShift first: it does "
        r"not take this operator: run the artifact in another engine, and report it$"
    )
    with pytest.raises(UnsupportedError, match=message):
        require_parsers(path)


#: The architectures whose graphs have operators that BERT's has not.
APART = ("MPNet", "MobileBERT", "ModernBERT", "NomicBERT", "DeBERTa", "T5")


def test_types_are_compared(tmp_path: Path) -> None:
    path = save(tmp_path / "g.onnx", onnx.helper.make_node("Neg", ["x"], ["y"], name="a"))
    assert parser_support("11.4").problems(ir.load(path)) == []
    sums = onnx.helper.make_node("CumSum", ["x", "x"], ["y"], name="total")
    problems = parser_support("11.4").problems(ir.load(save(tmp_path / "c.onnx", sums)))
    assert problems == ["CumSum total: it takes FP32, FP16, BF16, not INT64"]


def test_an_axis_must_not_be_computed(tmp_path: Path) -> None:
    node = onnx.helper.make_node("ReduceSum", ["x", "x"], ["y"], name="total")
    problems = parser_support("10.13").problems(ir.load(save(tmp_path / "g.onnx", node)))
    assert problems == ["ReduceSum total: its axes must be constant"]


def test_an_operator_set_may_be_too_new(tmp_path: Path) -> None:
    node = onnx.helper.make_node("Neg", ["x"], ["y"], name="a")
    model = ir.load(save(tmp_path / "graph.onnx", node, opset=23))
    assert parser_support("10.13").problems(model) == ["operator set 23: it takes 9 to 22"]
    assert parser_support("11.4").problems(model) == []


def marks_of(name: str) -> list[pytest.MarkDecorator]:
    if name == "BERT":
        return []
    return [pytest.mark.slow] if name in APART else [pytest.mark.slow, pytest.mark.cell]


@pytest.mark.parametrize("name", [pytest.param(name, marks=marks_of(name)) for name in MATRIX])
def test_every_architecture_is_taken_and_right(
    name: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = MATRIX[name]
    if row.since == "5" and transformers.__version__.startswith("4."):
        pytest.skip(f"transformers {transformers.__version__} does not carry {name}")
    torch.manual_seed(0)
    config = getattr(transformers, f"{row.prefix}Config")(**row.config)
    model = getattr(transformers, f"{row.prefix}Model")(config).eval()
    checkpoint = plain_checkpoint(tmp_path / "checkpoint", model, row.tokenizer())
    source = traced(tmp_path, checkpoint, TracedOnce(tmp_path_factory))
    ids = np.random.default_rng(0).integers(5, 150, (3, 19))
    mask = np.ones_like(ids)
    mask[1, 9:] = 0
    inputs = {"input_ids": ids, "attention_mask": mask}
    expected = open_engine("onnxruntime", source).run(inputs)
    target, emulation = tmp_path / "graph.onnx", tmp_path / "emulation.onnx"
    for precision, least in (("fp32", 0.999999), ("bf16", 0.9999), ("int8", 0.99)):
        write_tensorrt_graph(source, target, precision, feeds=FEEDS)
        require_parsers(target)
        write_emulation(target, emulation)
        found = open_engine("onnxruntime", emulation).run(inputs)
        lengths = np.linalg.norm(expected, axis=1) * np.linalg.norm(found, axis=1)
        assert ((expected * found).sum(1) / lengths).min() >= least
