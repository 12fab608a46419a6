"""The graph against sentence-transformers, end to end: poolings, Dense and Normalize."""

from pathlib import Path

import numpy as np
import pytest
from tests.support.checkpoints import bert_checkpoint, bert_model, plain_checkpoint

from lanner.artifact.artifact import Artifact
from lanner.engines import open_engine

torch = pytest.importorskip("torch", reason="needs the export extra")

import onnx  # noqa: E402

from lanner_export.graph.lookup import LookupTable  # noqa: E402
from lanner_export.graph.tensors import OPSET  # noqa: E402
from lanner_export.graph.tracing import write_fp32  # noqa: E402
from lanner_export.loading import load_checkpoint  # noqa: E402


def random_batch(seed: int, rows: int, longest: int) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, longest + 1, rows)
    lengths[0] = longest
    mask = (np.arange(longest) < lengths[:, None]).astype(np.int64)
    return {"input_ids": generator.integers(5, 200, (rows, longest)) * mask, "attention_mask": mask}


def write(checkpoint: Path, path: Path) -> None:
    loaded = load_checkpoint(str(checkpoint))
    assert not isinstance(loaded.graph, LookupTable)
    write_fp32(loaded.graph, loaded.inputs, loaded.output, path)


def reference(checkpoint: Path, feed: dict[str, np.ndarray]) -> np.ndarray:
    """Run the modules of sentence-transformers as its own forward does."""
    model = load_checkpoint(str(checkpoint)).model
    with torch.no_grad():
        features = {name: torch.from_numpy(value) for name, value in feed.items()}
        vectors: np.ndarray = model(features)["sentence_embedding"].numpy()
    return vectors


@pytest.mark.parametrize(
    ("pooling", "dense", "normalize"),
    [
        pytest.param("mean", True, True, id="mean, Dense, Normalize"),
        pytest.param(
            "mean_sqrt_len_tokens",
            False,
            False,
            id="mean over root of length",
            marks=pytest.mark.slow,
        ),
        pytest.param(("cls", "mean", "max"), False, True, id="three, one after the other"),
        pytest.param(("lasttoken", "weightedmean"), True, False, id="two, Dense"),
        # All modules above together.
        *(
            pytest.param(*options, id=name, marks=pytest.mark.slow)
            for name, options in {
                "mean": ("mean", False, False),
                "cls, Normalize": ("cls", False, True),
                "max, Dense": ("max", True, False),
                "mean weighted by position": ("weightedmean", False, True),
                "last token": ("lasttoken", False, False),
            }.items()
        ),
    ],
)
def test_the_graph_answers_as_the_modules_do(
    tmp_path: Path, pooling: str | tuple[str, ...], dense: bool, normalize: bool
) -> None:
    path = bert_checkpoint(tmp_path / "model", pooling=pooling, dense=dense, normalize=normalize)
    write(path, tmp_path / "model.onnx")
    engine = open_engine("onnxruntime", tmp_path / "model.onnx")
    # Batch sizes and lengths other than the traced ones, among them 1 and the longest.
    for seed, (rows, longest) in enumerate([(1, 1), (1, 9), (4, 5), (2, 64)]):
        feed = random_batch(seed, rows, longest)
        np.testing.assert_allclose(engine.run(feed), reference(path, feed), rtol=1e-4, atol=1e-5)


def test_inputs_outputs_and_opset(tiny_artifact_graph: onnx.ModelProto) -> None:
    graph = tiny_artifact_graph.graph
    assert [value.name for value in graph.input] == ["input_ids", "attention_mask"]
    assert [value.name for value in graph.output] == ["sentence_embedding"]
    shapes = [[d.dim_param for d in v.type.tensor_type.shape.dim] for v in graph.input]
    assert shapes == [["batch", "length"]] * 2
    assert {entry.domain: entry.version for entry in tiny_artifact_graph.opset_import}[""] == OPSET


def test_only_standard_operators(tiny_artifact_graph: onnx.ModelProto) -> None:
    assert {node.domain for node in tiny_artifact_graph.graph.node} <= {"", "ai.onnx"}


def test_no_path_of_this_machine_stays_in_the_file(tiny_artifact_graph: onnx.ModelProto) -> None:
    raw = tiny_artifact_graph.SerializeToString()
    assert b"site-packages" not in raw
    assert b".py" not in raw


def test_weights_have_the_names_of_the_checkpoint(tmp_path: Path) -> None:
    model = bert_model()
    write(plain_checkpoint(tmp_path / "model", model), tmp_path / "model.onnx")
    graph = onnx.load(tmp_path / "model.onnx").graph
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    products = {node.input[1] for node in graph.node if node.op_type == "MatMul"}
    # ONNX multiplies from the right.
    weights = {f"transformer.{name}": p.T for name, p in model.named_parameters() if p.ndim == 2}
    assert len(products) == 12
    for name in products:
        np.testing.assert_array_equal(constants[name], weights[name].detach().numpy())


@pytest.fixture
def tiny_artifact_graph(tiny_artifact: Artifact) -> onnx.ModelProto:
    return onnx.load(tiny_artifact.file("model.fp32.onnx"))


def test_token_types_that_are_constant_are_no_input(tmp_path: Path) -> None:
    # The row of type 0 must still be added. It is random here, so leaving it out would show.
    path = plain_checkpoint(tmp_path / "typed", bert_model(type_vocab_size=3))
    write(path, tmp_path / "model.onnx")
    feed = random_batch(0, 3, 8)
    answer = open_engine("onnxruntime", tmp_path / "model.onnx").run(feed)
    np.testing.assert_allclose(answer, reference(path, feed), rtol=1e-4, atol=1e-5)
