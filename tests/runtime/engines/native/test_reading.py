"""Plans of real and tiny checkpoints, run in numpy, beside the answers of ONNX Runtime."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.architectures import MATRIX, NATIVE, cell_cases
from tests.support.cells import MakeCell
from tests.support.checkpoints import plain_checkpoint, unigram_tokenizer
from tests.support.made_once import made_once
from tests.support.planned import PlanInNumpy
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.engines import open_engine
from lanner.engines.native.plan import Activation, Plan, Pooling
from lanner.engines.native.reading import look_at_plan, read_plan, take_plan
from lanner.engines.native.rotary import MOST_TOKENS
from lanner.errors import EngineError
from lanner.loading.load import load
from lanner.tune.workload import Workload

onnx = pytest.importorskip("onnx", reason="needs the export extra")

LENGTHS = (64, 1, 5, 17, 40)
PRE_NORM = (
    *("ModernBERT", "MegatronBERT", "RoBERTa-PreLayerNorm", "XLM-RoBERTa-XL", "EuroBERT", "T5"),
)
GATED = ("ModernBERT", "NomicBERT", "EuroBERT")
ROTARY = ("NomicBERT", "RoFormer", "EuroBERT", "Jina v3")


def batch(plan: Plan) -> dict[str, NDArray[np.int64]]:
    """Seeded random texts; in the longer ones the id of padding is a token, too."""
    generator, longest = np.random.default_rng(0), max(LENGTHS)
    padding_id = max(plan.padding_id, 0)
    ids = np.full((len(LENGTHS), longest), padding_id)
    mask, types = np.zeros_like(ids), np.zeros_like(ids)
    for row, length in enumerate(LENGTHS):
        vocabulary = len(plan.tensors["embeddings.word.weight"])
        ids[row, :length] = generator.integers(padding_id + 1, vocabulary, length)
        ids[row, 3:length:20] = padding_id
        mask[row, :length] = 1
        types[row, length // 2 : length] = 1
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def require_same(artifact: Artifact, variant: str) -> Plan:
    """Compare a plan with ONNX Runtime; return it."""
    path = artifact.file(f"model.{variant}.onnx")
    plan = read_plan(path)
    inputs = batch(plan)
    run = PlanInNumpy(plan)
    rows = [(inputs["input_ids"][i, :n], inputs["token_type_ids"][i, :n]) for i, n in texts()]
    found = run([ids for ids, _ in rows], [types for _, types in rows])
    expected = open_engine("onnxruntime", path).run(
        {name: inputs[name] for name in artifact.manifest.inputs}
    )
    differences = []
    for (row, length), answer in zip(texts(), found, strict=True):
        row_expected = expected[row, :length] if plan.pooling == Pooling.NONE else expected[row]
        differences.append(np.abs(answer - row_expected).ravel())
    difference = np.concatenate(differences)
    # A rounding on the edge goes the other way in some texts, and others follow.
    assert np.quantile(difference, 1.0 if variant == "fp32" else 0.5) < 1e-5
    assert difference.max() < 0.3
    assert not run.unread
    return plan


def texts() -> list[tuple[int, int]]:
    return list(enumerate(LENGTHS))


@pytest.mark.parametrize("variant", ["fp32", "int8"])
@pytest.mark.parametrize("head", ["tiny", "scorer", "classifier", "tagger"])
def test_a_plan_of_every_head_answers_as_onnxruntime_does(
    head: str, variant: str, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    plan = require_same(artifact, variant)
    assert plan.is_quantized() == (variant == "int8")
    assert plan.takes_types == ("token_type_ids" in artifact.manifest.inputs)
    assert plan.pooling == {"tiny": Pooling.MEAN, "tagger": Pooling.NONE}.get(head, Pooling.CLS)


@pytest.fixture(scope="session")
def first_token_artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of an XLM-R whose vector is that of the first token."""
    pytest.importorskip("torch", reason="needs the export extra")
    from transformers import XLMRobertaConfig, XLMRobertaModel  # noqa: PLC0415

    def make(directory: Path) -> None:
        row = MATRIX["XLM-RoBERTa"]
        directory.mkdir()
        model = XLMRobertaModel(XLMRobertaConfig(**row.config))
        checkpoint = plain_checkpoint(directory / "checkpoint", model, unigram_tokenizer())
        output, options = directory / "artifact", ["--pooling", "cls", "--precision", "fp32"]
        assert main(["export", str(checkpoint), "--output", str(output), *options]) == 0

    return Artifact.open(made_once(tmp_path_factory, "first-token", make) / "artifact")


def test_the_first_token_of_xlm_r_is_a_pooling(first_token_artifact: Artifact) -> None:
    plan = require_same(first_token_artifact, "fp32")
    assert (plan.pooling, plan.dimension) == (Pooling.CLS, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("last_of_equals", "does not know the operator ArgMax (node_argmax) among its indices"),
        ("skip_the_prompt", "of another token than the first"),
        ("another_axis", "the operator Squeeze (node_squeeze) as a pooling"),
    ],
)
def test_another_token_as_a_pooling_is_refused(
    change: str, message: str, first_token_artifact: Artifact, tmp_path: Path
) -> None:
    model = onnx.load(first_token_artifact.file("model.fp32.onnx"))
    node = node_of(model, "ArgMax")
    if change == "last_of_equals":
        next(item for item in node.attribute if item.name == "select_last_index").i = 1
    elif change == "skip_the_prompt":
        hide_what_is_not_read(model)
        node.input[0] = "read"
    else:
        node_of_name(model, model.graph.node[-1].input[0]).attribute[0].i = 0
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(EngineError, match=re.escape(message)):
        read_plan(path)


def test_a_dense_layer_and_the_norm_of_vectors_are_in_the_plan(tiny_artifact: Artifact) -> None:
    plan = read_plan(tiny_artifact.file("model.int8.onnx"))
    assert list(plan.dense_activations) == [Activation.TANH]
    assert plan.is_normalized
    assert plan.dimension == tiny_artifact.manifest.dimension


@pytest.mark.transformers
@pytest.mark.parametrize(
    ("name", "head"),
    cell_cases(NATIVE, without="sparse"),
)
def test_a_plan_of_every_architecture_answers_as_onnxruntime_does(
    name: str, head: str, make_cell: MakeCell
) -> None:
    artifact = make_cell(name, head).artifact
    for variant in ("fp32", "int8"):
        plan = require_same(artifact, variant)
        assert plan.layers == artifact.manifest.architecture.layers
        assert plan.layer_groups == (1 if name == "ALBERT" else plan.layers)
        is_roberta = MATRIX[name].config.get("pad_token_id") == 1
        if plan.position_offset is not None:
            assert (plan.position_offset, plan.padding_id) == ((2, 1) if is_roberta else (0, -1))
        has_rows = plan.position_offset is not None or name == "RoFormer"
        assert plan.max_tokens == (64 if has_rows else MOST_TOKENS)
        assert plan.is_pre_norm == (name in PRE_NORM)
        pools_late = name == "EuroBERT" and head in ("score", "classify")
        assert plan.dense_before_pooling == (2 if pools_late else 0)
        assert plan.is_gated == (name in GATED)
        assert plan.rotary_tables == (2 if name == "ModernBERT" else int(name in ROTARY))


@pytest.mark.slow
def test_the_plan_of_a_real_checkpoint_answers_as_onnxruntime_does(
    minilm_artifact: Artifact,
) -> None:
    """All but a few vectors are the same.

    In the few, a rounding on the edge goes the other way and others follow. ONNX Runtime differs
    from itself as much: of 200 sentences 6 to 17 have a cosine below 0.999 between two levels of
    its optimizations, and the lowest is 0.994.
    """

    sentences = Workload.shipped("embed", "latency").sample(100)
    model: Any = load(minilm_artifact.directory, variant="int8", engine="onnxruntime", threads=1)
    expected = model.encode(sentences)
    ids = [np.array(row) for row in model.tokenizer.encode(sentences)]
    found = np.array(PlanInNumpy(read_plan(minilm_artifact.file("model.int8.onnx")))(ids))
    cosines = (found * expected).sum(axis=1)
    assert np.mean(cosines > 0.99999) >= 0.9
    assert cosines.min() > 0.99


@pytest.mark.slow
def test_another_count_of_distances_is_refused(make_cell: MakeCell, tmp_path: Path) -> None:
    model = onnx.load(make_cell("MPNet", "embed").artifact.file("model.int8.onnx"))
    node = node_of(model, "Log")
    far = next(item for item in model.graph.node if node.output[0] in item.input)
    value = next(item for item in model.graph.initializer if item.name == far.input[1])
    value.CopyFrom(onnx.numpy_helper.from_array(np.array(20.0, np.float32), value.name))
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(EngineError, match=r"does not know how the relative bias .* counts"):
        read_plan(path)


@pytest.mark.slow
def test_other_encoders_are_refused_with_the_operator_that_is_not_known(
    make_cell: MakeCell,
) -> None:
    path = make_cell("DeBERTa", "embed").artifact.file("model.int8.onnx")
    message = r"model.int8.onnx: the native engine does not know the "
    with pytest.raises(EngineError, match=message):
        read_plan(path)


def test_a_static_model_is_refused(tmp_path: Path) -> None:
    artifact = write_word_artifact(tmp_path / "words.lanner")
    with pytest.raises(EngineError, match="the native engine does not know"):
        read_plan(artifact / "model.fp32.onnx")


def test_inspect_says_whether_the_engine_runs_an_artifact(
    tiny_artifact: Artifact, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", "--json", str(tiny_artifact.directory)])
    assert json.loads(capsys.readouterr().out)["native"] == {"fp32": "", "int8": ""}
    main(["inspect", str(tiny_artifact.directory)])
    assert "native      runs fp32, int8; " in capsys.readouterr().out


@pytest.mark.slow
def test_inspect_says_which_operator_the_engine_does_not_know(
    make_cell: MakeCell, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["inspect", str(make_cell("DeBERTa", "embed").artifact.directory)])
    shown = " ".join(capsys.readouterr().out.split())
    assert "native none: the native engine does not know the" in shown


def test_a_damaged_file_is_refused(tiny_artifact: Artifact, tmp_path: Path) -> None:
    whole = tiny_artifact.file("model.int8.onnx").read_bytes()
    for length in (0, 10, len(whole) // 2):
        path = tmp_path / f"{length}.onnx"
        path.write_bytes(whole[:length])
        with pytest.raises(
            EngineError, match=f"could not read {path}: .*export the artifact again"
        ):
            read_plan(path)


def node_of(model: Any, operator: str) -> Any:
    return next(node for node in model.graph.node if node.op_type == operator)


def node_of_name(model: Any, output: str) -> Any:
    return next(node for node in model.graph.node if node.output[0] == output)


def add_node(model: Any) -> None:
    model.graph.node.append(
        onnx.helper.make_node("Neg", ["attention_mask"], ["nowhere"], name="idle")
    )


def add_tensor(model: Any) -> None:
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "spare"))


def look_ahead_only(model: Any) -> None:
    attributes = node_of(model, "Attention").attribute
    next(item for item in attributes if item.name == "is_causal").i = 1


def mask_more(model: Any) -> None:
    node_of(model, "GreaterOrEqual").op_type = "Less"


def answer_what_is_not_read(model: Any) -> None:
    """Hide tokens that have 2 in the mask, as a graph that answers without reading them does."""
    for name in node_of(model, "GreaterOrEqual").input:
        source = next(node for node in model.graph.node if node.output[0] == name)
        source.input[0] = "read"
    hide_what_is_not_read(model)


def hide_what_is_not_read(model: Any) -> None:
    """Begin with a mask, "read", that is 1 only where the mask of the input is."""
    one = onnx.numpy_helper.from_array(np.array(1), "one")
    model.graph.initializer.append(one)
    equal = onnx.helper.make_node("Equal", ["attention_mask", "one"], ["is_one"])
    cast = onnx.helper.make_node("Cast", ["is_one"], ["read"], to=onnx.TensorProto.INT64)
    model.graph.node.insert(0, cast)
    model.graph.node.insert(0, equal)


def shift_weights(model: Any) -> None:
    name = node_of(model, "MatMul").input[1]
    node = next(node for node in model.graph.node if node.output[0] == name)
    zeros = next(item for item in model.graph.initializer if item.name == node.input[2])
    ones = onnx.numpy_helper.from_array(np.ones(zeros.dims, np.int8), zeros.name)
    zeros.CopyFrom(ones)


def scale_other(model: Any) -> None:
    node_of(model, "LayerNormalization").attribute.append(onnx.helper.make_attribute("axis", 1))


def close_a_circle(model: Any) -> None:
    first = node_of(model, "Add")
    first.input[1] = first.output[0]


def ask_for_all_memory(model: Any) -> None:
    """Token types that are cut from an array of two to the power of 40 numbers."""
    node = node_of(model, "GatherElements")
    add = model.graph.initializer.append
    add(onnx.numpy_helper.from_array(np.array([1, 2**40]), "huge"))
    node.CopyFrom(onnx.helper.make_node("ConstantOfShape", ["huge"], [node.output[0]], name="all"))


def add_tables(model: Any) -> None:
    """A sum of two to the power of 40 tables."""
    first = node_of(model, "Add")
    place, name = list(model.graph.node).index(first), first.input[0]
    for number in range(40):
        twice = onnx.helper.make_node("Add", [name, name], [f"twice {number}"])
        model.graph.node.insert(place + number, twice)
        name = f"twice {number}"
    node_of_name(model, first.output[0]).input[0] = name


def another_activation(model: Any) -> None:
    node_of(model, "Gelu").op_type = "Softplus"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (add_node, "what the operator Neg (idle) is for"),
        (add_tensor, "what the tensor 'spare' is for"),
        (look_ahead_only, "with a cap, a cache or a causal mask"),
        (mask_more, "which hides more or less than padding"),
        (answer_what_is_not_read, "which hides tokens that are answered"),
        (shift_weights, "the zero points of the operator DequantizeLinear"),
        (add_tables, "embeddings with more than four tables"),
        (close_a_circle, "which is not in order"),
        (ask_for_all_memory, "does not know the operator ConstantOfShape (all) among its indices"),
        (another_activation, "does not know the operator Softplus"),
    ],
    ids=lambda item: item.__name__ if callable(item) else "",
)
def test_a_graph_that_computes_anything_else_is_refused(
    change: Callable[[Any], None], message: str, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    model = onnx.load(tiny_artifact.file("model.int8.onnx"))
    change(model)
    path = tmp_path / "changed.onnx"
    onnx.save(model, path)
    with pytest.raises(EngineError, match=re.escape(message)):
        read_plan(path)


def test_what_was_looked_at_is_taken_once_and_only_if_it_is_the_same_still(
    tiny_artifact: Artifact, tmp_path: Path
) -> None:
    path = Path(shutil.copy(tiny_artifact.file("model.int8.onnx"), tmp_path))
    look_at_plan(path)
    seen = take_plan(path)
    assert take_plan(path) is not seen
    look_at_plan(path)
    shutil.copy(tiny_artifact.file("model.fp32.onnx"), path)
    assert not take_plan(path).is_quantized()
    look_at_plan(path)
    other = Path(shutil.copy(tiny_artifact.file("model.int8.onnx"), tmp_path / "other.onnx"))
    assert take_plan(other).is_quantized()
    path.unlink()
    with pytest.raises(EngineError, match=r"^the native engine could not read .*model.int8.onnx"):
        take_plan(path)
