from collections import Counter

import numpy as np
import pytest

from lanner.artifact import Artifact
from lanner.loading import load

onnx = pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")


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
    from lanner.text_files import shipped_sentences  # noqa: PLC0415

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
