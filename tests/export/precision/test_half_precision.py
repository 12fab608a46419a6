"""Half precision; `tests/end_to_end/test_architectures.py` converts every architecture.

The answers of a graph are computed by its emulation, which rounds as a GPU does, on any machine.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.architectures import MATRIX, config_of, encoder_class
from tests.support.checkpoints import bert_model, plain_checkpoint

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.engines import open_engine
from lanner.errors import EngineError, ExportError, ParityError, UnsupportedError, VariantError
from lanner.loading.load import load

onnx = pytest.importorskip("onnx", reason="needs the export extra")
torch = pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from tests.support.census import require_half_graph  # noqa: E402

from lanner.models.answers import row_cosines  # noqa: E402
from lanner_export.export import export  # noqa: E402
from lanner_export.precision.half_precision import measurable, write_half  # noqa: E402
from lanner_export.quality.comparison import parity_texts  # noqa: E402

PRECISIONS = ("fp16", "bf16")
IDENTITY = np.eye(4, dtype=np.float32)
LOWEST = np.array(np.finfo(np.float32).min)


class Graph:
    """Write a graph by hand: the rows of a table go through some operators to sentence vectors.

    Args:
        path: The file.
        table: The row of each token id, float32 [ids, 4].
    """

    def __init__(self, path: Path, table: list[list[float]]) -> None:
        self.path = path
        self._nodes: list[Any] = []
        self._initializers: list[Any] = []
        self.tokens = self.node("Gather", self.constant(np.array(table, np.float32)), "input_ids")

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        name = f"constant_{len(self._initializers)}"
        array = np.asarray(value, dtype)
        self._initializers.append(onnx.numpy_helper.from_array(array, name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        name = output or f"{kind.lower()}_{len(self._nodes)}"
        self._nodes.append(onnx.helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def mask(self) -> str:
        """Return the attention mask, float32 [batch, length, 1]."""
        mask = self.node("Cast", "attention_mask", to=onnx.TensorProto.FLOAT)
        return self.node("Unsqueeze", mask, self.constant([2], np.int64))

    def mean(self, hidden: str, weights: str) -> str:
        """Return the mean over the tokens, after a product with the identity as the last layer."""
        hidden = self.node("MatMul", hidden, self.constant(IDENTITY))
        axis = self.constant([1], np.int64)
        weighted = self.node("Mul", hidden, weights)
        total = self.node("ReduceSum", weighted, axis, keepdims=0)
        count = self.node("ReduceSum", weights, axis, keepdims=0)
        return self.node("Div", total, count, output="sentence_embedding")

    def write(self) -> Path:
        ints = onnx.TensorProto.INT64
        proto = onnx.helper.make_graph(
            self._nodes,
            "by hand",
            [
                onnx.helper.make_tensor_value_info(name, ints, ["batch", "length"])
                for name in ("input_ids", "attention_mask")
            ],
            [
                onnx.helper.make_tensor_value_info(
                    "sentence_embedding", onnx.TensorProto.FLOAT, ["batch", 4]
                )
            ],
            self._initializers,
        )
        opsets = [onnx.helper.make_opsetid("", 23)]
        onnx.save(onnx.helper.make_model(proto, opset_imports=opsets, ir_version=11), self.path)
        return self.path


def run(path: Path, ids: list[list[int]], mask: list[list[int]] | None = None) -> Any:
    feed = {"input_ids": np.array(ids), "attention_mask": np.array(mask or np.ones_like(ids))}
    return open_engine("onnxruntime", path).run(feed)


def run_half(fp32: Path, precision: str, *batch: Any) -> Any:
    half = fp32.with_name(f"model.{precision}.onnx")
    write_half(fp32, half, precision)
    require_half_graph(half, precision)
    return run(measurable(half, precision, fp32.parent), *batch)


@pytest.mark.parametrize("squared", ["by a product", "by a power"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_variance_beyond_65504_is_right(tmp_path: Path, precision: str, squared: str) -> None:
    with np.errstate(over="ignore"):
        assert np.isinf(np.float16(300) * np.float16(300))  # as a graph all in fp16 would add up
    graph = Graph(tmp_path / "fp32.onnx", [[0, 0, 0, 0], [300, -300, 300, -300]])
    last = graph.constant([-1], np.int64)
    centred = graph.node("Sub", graph.tokens, graph.node("ReduceMean", graph.tokens, last))
    if squared == "by a product":
        squares = graph.node("Mul", centred, centred)
    else:
        squares = graph.node("Pow", centred, graph.constant(2))
    variance = graph.node("Add", graph.node("ReduceMean", squares, last), graph.constant(1e-12))
    graph.mean(graph.node("Div", centred, graph.node("Sqrt", variance)), graph.mask())
    # Mean 0, variance 90000, deviation 300.
    assert run_half(graph.write(), precision, [[1]]).tolist() == [[1, -1, 1, -1]]


@pytest.mark.parametrize("weighted", ["alike", "by position"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_pooling_sum_beyond_65504_is_right(tmp_path: Path, precision: str, weighted: str) -> None:
    # 400 tokens of 200 add up to 80,000, and so does the last one times its position.
    graph = Graph(tmp_path / "fp32.onnx", [[0, 0, 0, 0], [200, 1, 0, -200]])
    weights = graph.mask()
    if weighted == "by position":
        weights = graph.node("CumSum", weights, graph.constant(1, np.int64))
    graph.mean(graph.tokens, weights)
    assert run_half(graph.write(), precision, [[1] * 400]).tolist() == [[200, 1, 0, -200]]


@pytest.mark.parametrize("fused", [True, False], ids=["Attention", "Softmax"])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_token_to_which_all_is_hidden_attends_alike(
    tmp_path: Path, precision: str, fused: bool
) -> None:
    # The lowest float32 would be -infinity in either type. Queries and keys are zeros, so every
    # score is only the mask, and each token gets the mean of the values.
    graph = Graph(tmp_path / "fp32.onnx", [[0, 0, 0, 0], [2, 0, 0, -8], [4, 0, 1, 8]])
    hidden = graph.node("Sub", graph.constant(1), graph.mask())
    hidden = graph.node("Unsqueeze", hidden, graph.constant([1], np.int64))
    bias = graph.node("Mul", hidden, graph.constant(LOWEST))  # [batch, 1, length, 1]
    values = graph.node("MatMul", graph.tokens, graph.constant(IDENTITY))
    queries = graph.node("MatMul", graph.tokens, graph.constant(0 * IDENTITY))
    heads = graph.constant([1], np.int64)
    q, k, v = (graph.node("Unsqueeze", x, heads) for x in (queries, queries, values))
    if fused:
        expanded = graph.node("Concat", bias, bias, axis=-1)
        mixed = graph.node("Attention", q, k, v, expanded)
    else:
        scores = graph.node("MatMul", q, graph.node("Transpose", k, perm=[0, 1, 3, 2]))
        scores = graph.node("Div", scores, graph.constant(2))
        shares = graph.node("Softmax", graph.node("Add", scores, bias))
        mixed = graph.node("MatMul", shares, v)
    ones = graph.node("Add", graph.node("Mul", graph.mask(), graph.constant(0)), graph.constant(1))
    graph.mean(graph.node("Squeeze", mixed, heads), ones)
    answer = run_half(graph.write(), precision, [[1, 2]], [[0, 0]])
    assert answer.tolist() == [[3, 0, 0.5, 0]]


@pytest.mark.parametrize(("precision", "exact"), [("fp16", 2048), ("bf16", 256)])
def test_the_emulation_rounds_what_an_operator_gives(
    tmp_path: Path, precision: str, exact: int
) -> None:
    # From here on the type has only even numbers, and a tie goes to the multiple of four: 2049
    # becomes 2048, and 2051 becomes 2052.
    graph = Graph(tmp_path / "fp32.onnx", [[0, 0, 0, 0], [exact, exact + 2, -exact, exact / 2]])
    graph.mean(graph.node("Add", graph.tokens, graph.constant(1)), graph.mask())
    path = graph.write()
    assert run(path, [[1]]).tolist() == [[exact + 1, exact + 3, 1 - exact, exact / 2 + 1]]
    assert run_half(path, precision, [[1]]).tolist() == [
        [exact, exact + 4, 1 - exact, exact / 2 + 1]
    ]


@pytest.mark.slow
def test_minilm_is_half_the_size_and_as_good_as_in_torch(
    minilm_checkpoint: Path, minilm_artifact: Artifact, tmp_path: Path
) -> None:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    texts = [text for text in parity_texts() if len(text) < 100][::4]
    fp32 = minilm_artifact.file("model.fp32.onnx")
    expected = load(minilm_artifact.directory, variant="fp32").encode(texts)
    model: Any = load(minilm_artifact.directory, variant="fp32")
    for precision, dtype in (("fp16", torch.float16), ("bf16", torch.bfloat16)):
        half = tmp_path / f"model.{precision}.onnx"
        write_half(fp32, half, precision)
        assert half.stat().st_size < 0.502 * fp32.stat().st_size
        assert require_half_graph(half, precision) == 36  # six a layer
        model.runner.engine = open_engine("onnxruntime", measurable(half, precision, tmp_path))
        off = 1 - row_cosines(expected, model.encode(texts))
        reference = SentenceTransformer(str(minilm_checkpoint), device="cpu").to(dtype)
        vectors = reference.encode(texts, batch_size=1, convert_to_tensor=True).float().numpy()
        off_in_torch = 1 - row_cosines(expected, vectors)
        assert 0.5 < off.mean() / off_in_torch.mean() < 2


@pytest.fixture(scope="module")
def artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    path = tmp_path_factory.mktemp("half") / "half.lanner"
    return export(tiny_checkpoint, path, precisions=PRECISIONS)


def test_a_cpu_runs_fp16(artifact: Artifact, tiny_artifact: Artifact) -> None:
    texts = ["a man is playing a guitar", "the train", ""]
    expected = load(tiny_artifact.directory, variant="fp32").encode(texts)
    vectors = load(artifact.directory, variant="fp16").encode(texts)
    assert vectors.dtype == np.float32
    assert row_cosines(expected, vectors).min() >= 0.99999


def test_a_cpu_does_not_run_bf16_and_says_so(artifact: Artifact) -> None:
    message = (
        r"^ONNX Runtime \S+ cannot run \S+model.bf16.onnx on a CPU \(Could not find an "
        r"implementation for [^)]+\)[^)]+\): it needs a GPU, so load another variant$"
    )
    with pytest.raises(EngineError, match=message):
        load(artifact.directory, variant="bf16", engine="onnxruntime")


def test_half_precision_is_never_picked_unasked(artifact: Artifact) -> None:
    with pytest.raises(VariantError, match=r"no variant that is safe .* name one of: fp16, bf16"):
        load(artifact.directory)


def test_inspect_says_what_it_is_for(
    artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(artifact.directory)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum(line.endswith("for GPUs; quality emulated") for line in lines) == 2
    card = (artifact.directory / "README.md").read_text()
    assert card.count("for GPUs; quality emulated") == 2


def test_a_weight_that_does_not_fit_is_named(tiny_artifact: Artifact, tmp_path: Path) -> None:
    name = "transformer.encoder.layer.1.attention.self.query.weight"
    model = onnx.load(tiny_artifact.file("model.fp32.onnx"))
    (weight,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
    changed = onnx.numpy_helper.to_array(weight).copy()
    changed[3, 5] = -70000
    weight.CopyFrom(onnx.numpy_helper.from_array(changed, name))
    fp32, half = tmp_path / "fp32.onnx", tmp_path / "half.onnx"
    onnx.save(model, fp32)
    message = rf"^the weight {name} reaches 70000, and fp16 at most 65504: use --precision bf16$"
    with pytest.raises(ExportError, match=message):
        write_half(fp32, half, "fp16")
    assert not half.exists()
    write_half(fp32, half, "bf16")
    require_half_graph(half, "bf16")


def overflowing(name: str, directory: Path) -> Path:
    """Save a checkpoint whose activations leave the range of fp16."""
    if name == "BERT":
        bert = bert_model()
        bert.encoder.layer[1].output.dense.weight.data *= 5e4
        return plain_checkpoint(directory, bert)
    torch.manual_seed(0)
    row = MATRIX[name]
    config = getattr(transformers, f"{row.prefix}Config")(**config_of(name, "embed"))
    model = encoder_class(row.prefix)(config).eval()
    if name == "T5":
        model.encoder.block[1].layer[1].DenseReluDense.wo.weight.data *= 5e4
    else:
        model.layers[0].post_feedforward_layernorm.weight.data += 5e4
    return plain_checkpoint(directory, model, row.tokenizer())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["BERT", "T5", "EmbeddingGemma"])
def test_activations_that_overflow_fail_and_fit_into_bf16(tmp_path: Path, name: str) -> None:
    checkpoint = overflowing(name, tmp_path / "model")
    message = (
        r"the fp16 variant does not .*: smallest cosine nan, .* with cosine nan; fp16 overflows "
        r"from 65504 on, so use --precision bf16. Nothing was written"
    )
    with pytest.raises(ParityError, match=message):
        export(checkpoint, tmp_path / "out.lanner", precisions=["fp16"])
    quality = export(checkpoint, tmp_path / "out.lanner", precisions=["bf16"]).quality()
    assert quality["variants"]["bf16"]["cosine_min"] > 0.999


def test_static_vectors_have_none(tmp_path: Path) -> None:
    path = tmp_path / "words.vec"
    path.write_text("2 2\na 1 0\nb 0 1\n")
    with pytest.raises(
        UnsupportedError,
        match=r"words.vec holds static vectors, which have no bf16: use fp32, or int8, which",
    ):
        export(path, tmp_path / "out.lanner", precisions=["fp32", "bf16"])
    assert [entry.name for entry in tmp_path.iterdir()] == ["words.vec"]
