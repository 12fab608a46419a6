from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.loading.load import load

onnx = pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

import onnx_ir as ir  # noqa: E402
from tests.support.graphs import answers, graph  # noqa: E402

from lanner_export.graph.fusion import count_fused_ops  # noqa: E402
from lanner_export.precision.quantization import Product, products, write_int8, write_int8_dynamic  # noqa: E402
from lanner_export.precision.ranges import Range  # noqa: E402

#: A word lookup, a product and its residual, a second product with the same weights and input, and
#: one with few columns.
BODY = """
x = Gather(words, input_ids)
p = MatMul(x, w)
r = Add(p, x)
q = MatMul(x, w)
s = Add(q, r)
z = MatMul(s, few)
vectors = Identity(x)
"""
WIDTH = 40
IDS = {"input_ids": np.random.default_rng(0).integers(0, 80, (3, 7))}
RANGES = {"x": Range(-4.0, 4.0)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    draw = np.random.default_rng(1).normal
    arrays = {
        "words": draw(size=(80, WIDTH)).clip(-4, 4).astype(np.float32),
        "w": draw(size=(WIDTH, WIDTH)).astype(np.float32),
        "few": draw(size=(WIDTH, 31)).astype(np.float32),
    }
    model = graph(
        "int64[n, t] input_ids", "float[n, t, 31] z, float[n, t, 40] vectors", BODY, arrays
    )
    for node in model.graph:
        node.name = {"p": "first", "q": "second", "z": "last"}.get(node.outputs[0].name or "")
    ir.save(model, tmp_path / "model.onnx")
    return tmp_path / "model.onnx"


def written(source: Path, *keep: str) -> ir.Model:
    target = source.with_name("int8.onnx")
    write_int8(source, target, RANGES, keep=keep)
    onnx.checker.check_model(str(target), full_check=True)
    return ir.load(target)


def test_products_of_few_columns_are_left_out(source: Path) -> None:
    assert products(source) == [Product("first", "x", 1_600), Product("second", "x", 1_600)]
    (last,) = (node for node in written(source).graph if node.name == "last")
    assert last.inputs[0] is not None
    assert last.inputs[1] is not None
    assert last.inputs[0].name == "s"
    assert last.inputs[1].dtype == ir.DataType.FLOAT


def test_a_head_s_last_product_is_left_out_at_any_width(tmp_path: Path) -> None:
    weights = np.eye(WIDTH, dtype=np.float32)
    arrays = {"w": weights, "v": weights, "b": np.zeros(WIDTH, np.float32)}
    body = "y = MatMul(x, w)\nz = MatMul(y, v)\nlogits = Add(z, b)\n"
    model = graph("float[n, 40] x", "float[n, 40] logits", body, arrays)
    for node in model.graph:
        node.name = f"node_{node.outputs[0].name}"
    ir.save(model, tmp_path / "head.onnx")
    assert products(tmp_path / "head.onnx") == [Product("node_y", "x", WIDTH * WIDTH)]


def test_an_activation_is_quantized_once_and_the_residual_is_not(source: Path) -> None:
    model = written(source)
    counts = Counter(node.op_type for node in model.graph)
    assert counts["QuantizeLinear"] == 1
    assert counts["DequantizeLinear"] == 4  # of the activation and of the weights, for each product
    (residual,) = (node for node in model.graph if node.outputs[0].name == "r")
    makers = {value.producer().op_type for value in residual.inputs if value is not None}  # type: ignore[union-attr]
    assert makers == {"MatMul", "Mul"}  # Mul: the words as they are looked up
    assert set(model.opset_imports) == {""}


def test_weights_that_are_shared_are_stored_once(source: Path) -> None:
    model = written(source)
    weights = [v for v in model.graph.initializers.values() if v.dtype == ir.DataType.INT8]
    shapes = sorted(tuple(value.shape or ()) for value in weights)
    assert shapes == [(WIDTH,), (WIDTH, WIDTH), (80, WIDTH)]


def test_products_that_are_kept_stay_float32(source: Path) -> None:
    model = written(source, "first")
    by_name = {node.name: node for node in model.graph}
    assert by_name["first"].inputs[1].const_value.dtype == ir.DataType.FLOAT  # type: ignore[union-attr]
    assert by_name["second"].inputs[1].producer().op_type == "DequantizeLinear"  # type: ignore[union-attr]
    kept = written(source, "first", "second")
    assert not any(node.op_type.endswith("QuantizeLinear") for node in kept.graph)


def test_words_are_half_a_step_of_their_row_off_at_most(source: Path) -> None:
    model = ir.load(source)
    words = model.graph.initializers["words"].const_value.numpy()  # type: ignore[union-attr]
    _, exact = answers(model, IDS)
    _, found = answers(written(source), IDS)
    step = np.abs(words).max(axis=1)[IDS["input_ids"]][..., None] / 127
    assert (np.abs(found - exact) <= step * 0.5001).all()
    assert np.abs(found - exact).max() > 0


def test_dynamic_scales_depend_on_the_batch_and_static_ones_do_not(source: Path) -> None:
    write_int8_dynamic(source, source.with_name("dynamic.onnx"))
    dynamic = ir.load(source.with_name("dynamic.onnx"))
    # Both products are the same here, and ONNX Runtime runs them once.
    assert count_fused_ops(source.with_name("dynamic.onnx"))["DynamicQuantizeMatMul"] == 1
    differences = []
    for model in (dynamic, written(source)):
        together, _ = answers(model, IDS)
        alone, _ = answers(model, {"input_ids": IDS["input_ids"][:1]})
        differences.append(float(np.abs(together[:1] - alone).max()))
    assert differences[0] > 1e-3
    assert differences[1] == 0


def test_weights_are_signed_per_channel_and_activations_unsigned(tiny_artifact: Artifact) -> None:
    graph = onnx.load(tiny_artifact.file("model.int8.onnx")).graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    produced = {name: node for node in graph.node for name in node.output}
    products = [node for node in graph.node if node.op_type == "MatMul"]
    assert len(products) == 12  # six a layer; the Dense module is a Gemm, and stays float32
    for product in products:
        activation, weight = (produced[name] for name in product.input)
        assert activation.op_type == weight.op_type == "DequantizeLinear"
        assert constants[activation.input[2]].dtype == np.uint8
        quantized, scales, zeros = (constants[name] for name in weight.input)
        assert quantized.dtype == zeros.dtype == np.int8
        assert scales.shape == (quantized.shape[1],)
        assert not zeros.any()


def test_only_inputs_of_products_are_quantized(tiny_artifact: Artifact) -> None:
    graph = onnx.load(tiny_artifact.file("model.int8.onnx")).graph
    products = {name for node in graph.node if node.op_type == "MatMul" for name in node.output}
    quantized = {
        node.input[0] for node in graph.node if node.op_type.endswith("QuantizeLinear")
    } - {tensor.name for tensor in graph.initializer}
    assert products
    assert quantized
    assert not products & quantized
    assert "DynamicQuantizeLinear" not in Counter(node.op_type for node in graph.node)


def test_a_vector_does_not_depend_on_its_batch(minilm_artifact: Artifact) -> None:
    from lanner.files.texts import shipped_sentences  # noqa: PLC0415

    generator = np.random.default_rng(0)
    sentences = shipped_sentences()
    text = sentences[0]
    for variant in ("fp32", "int8"):
        model = load(minilm_artifact.directory, variant=variant, token_budget=1 << 20)
        alone = model.encode(text, normalize_embeddings=True)
        for _ in range(20):
            others = [sentences[i] for i in generator.integers(1, len(sentences), 15)]
            among = model.encode([*others, text], normalize_embeddings=True)[-1]
            assert float(alone @ among) >= 0.9999
