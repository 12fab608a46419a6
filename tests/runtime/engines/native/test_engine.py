"""The native engine, where its module is built: beside the plan in numpy, and in every batch."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.runtime.engines.native.test_reading import batch, texts
from tests.support.planned import PlanInNumpy
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact
from lanner.commands import main
from lanner.engines import find_engine, open_engine
from lanner.engines.native.availability import why_no_bf16
from lanner.engines.native.plan import Plan, Pooling
from lanner.engines.native.reading import read_plan
from lanner.errors import EngineError, MissingExtraError
from lanner.loading.load import load
from lanner.tune.workload import Workload

pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")

from lanner.engines.native.engine import InstructionSet, NativeEngine, instruction_sets

Feed = dict[str, NDArray[np.int64]]
HEADS = ("tiny", "scorer", "classifier", "tagger")


needs_bf16 = pytest.mark.skipif(bool(why_no_bf16()), reason=why_no_bf16())


def usable(*, is_bf16: bool = False) -> list[str]:
    sets = instruction_sets()
    return [item.name for item in sets if (item.is_bf16_correct if is_bf16 else item.is_correct)]


@pytest.mark.parametrize("is_per_token", [False, True], ids=["static", "per-token"])
@pytest.mark.parametrize("head", HEADS)
def test_it_answers_as_its_plan_does_in_numpy(
    head: str, is_per_token: bool, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    path = artifact.file("model.int8.onnx")
    plan = read_plan(path)
    inputs = batch(plan)
    found = NativeEngine(path, threads=2, is_per_token=is_per_token).run(inputs)
    expected = PlanInNumpy(plan, is_per_token=is_per_token)(
        [inputs["input_ids"][i, :n] for i, n in texts()],
        [inputs["token_type_ids"][i, :n] for i, n in texts()],
    )
    differences = []
    for (row, length), answer in zip(texts(), expected, strict=True):
        own = found[row, :length] if plan.pooling == Pooling.NONE else found[row]
        differences.append(np.abs(own - answer).ravel())
        if plan.pooling == Pooling.NONE:
            assert not found[row, length:].any()
    difference = np.concatenate(differences)
    # A rounding on the edge goes the other way in some texts, and others follow.
    assert np.median(difference) < 1e-4
    assert difference.max() < 0.1


@pytest.mark.parametrize("head", HEADS)
def test_it_runs_fp32_too(head: str, request: pytest.FixtureRequest) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    path = artifact.file("model.fp32.onnx")
    inputs = batch(read_plan(path))
    inputs = {name: inputs[name] for name in artifact.manifest.inputs}
    found = open_engine("native", path, threads=2).run(inputs)
    expected = open_engine("onnxruntime", path).run(inputs)
    for row, length in texts():
        kept = (row, slice(length)) if found.ndim == 3 else row
        np.testing.assert_allclose(found[kept], expected[kept], rtol=1e-4, atol=1e-4)


def random_batches(inputs: Feed, count: int) -> list[tuple[NDArray[np.int64], Feed]]:
    """Batches of seeded random rows, some with more padding than they need."""
    generator = np.random.default_rng(0)
    lengths = inputs["attention_mask"].sum(axis=1)
    found = []
    for _ in range(count):
        rows = generator.integers(0, len(lengths), generator.integers(1, 12))
        longest = int(generator.integers(lengths[rows].max(), lengths.max() + 1))
        found.append((rows, {name: v[rows, :longest] for name, v in inputs.items()}))
    return found


def require_same_bits(path: Path, inputs: Feed, *, is_bf16: bool = False, **options: Any) -> None:
    """Compare each text alone with random batches, threads and instruction sets."""
    sets = usable(is_bf16=is_bf16)
    options |= {"is_bf16": is_bf16}
    rows = range(len(inputs["attention_mask"]))
    lengths = inputs["attention_mask"].sum(axis=1)
    alone = NativeEngine(path, instruction_set=sets[0], **options)
    expected = [
        alone.run({name: v[row : row + 1, : lengths[row]] for name, v in inputs.items()})
        for row in rows
    ]
    batches = random_batches(inputs, 200)
    for number, name in enumerate(sets):
        for threads in (1, 2):
            engine = NativeEngine(path, threads=threads, instruction_set=name, **options)
            assert engine.instruction_set == name
            for chosen, feed in batches if number == 0 else batches[:10]:
                answers = engine.run(feed, is_alone=threads == 2)
                for row, answer in zip(chosen, answers, strict=True):
                    kept = answer[: lengths[row]] if answer.ndim == 2 else answer
                    assert kept.tobytes() == expected[row][0].tobytes()


@pytest.mark.parametrize("is_per_token", [False, True], ids=["static", "per-token"])
@pytest.mark.parametrize("head", HEADS)
def test_the_bits_depend_on_nothing_but_the_text(
    head: str, is_per_token: bool, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    path = artifact.file("model.int8.onnx")
    require_same_bits(path, batch(read_plan(path)), is_per_token=is_per_token)


@pytest.mark.parametrize("head", HEADS)
def test_with_products_in_bf16_it_answers_as_its_plan_does_in_numpy(
    head: str, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    path = artifact.file("model.fp32.onnx")
    plan = read_plan(path)
    inputs = batch(plan)
    # Plain C++ has the kernels on every processor.
    found = NativeEngine(path, is_bf16=True, instruction_set="plain").run(inputs)
    ids = [inputs["input_ids"][i, :n] for i, n in texts()]
    types = [inputs["token_type_ids"][i, :n] for i, n in texts()]
    nearer, expected = (PlanInNumpy(plan, is_bf16=kind)(ids, types) for kind in (True, False))
    distances = []
    for answers in (nearer, expected):
        differences = []
        for (row, length), answer in zip(texts(), answers, strict=True):
            own = found[row, :length] if plan.pooling == Pooling.NONE else found[row]
            differences.append(np.abs(own - answer).ravel())
        distances.append(np.median(np.concatenate(differences)))
    # A rounding on the edge goes the other way in some texts, and others follow.
    assert distances[0] < distances[1] / 5
    assert 0 < distances[1] < 0.01


@pytest.mark.parametrize("head", HEADS)
def test_the_bits_with_products_in_bf16_depend_on_nothing_but_the_text(
    head: str, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    path = artifact.file("model.fp32.onnx")
    require_same_bits(path, batch(read_plan(path)), is_bf16=True)


@needs_bf16
def test_products_in_bf16_are_asked_for_by_the_name_of_the_engine(tiny_artifact: Artifact) -> None:
    texts = ["a man plays", "the guitar"]
    model: Any = load(tiny_artifact.directory, engine="native-bf16")
    assert (model.variant.name, model.runner.engine.name) == ("fp32", "native-bf16")
    exact: Any = load(tiny_artifact.directory, engine="native", variant="fp32")
    rounded, whole = model.encode(texts), exact.encode(texts)
    assert not np.array_equal(rounded, whole)
    assert (rounded * whole).sum(axis=1).min() > 0.999


@needs_bf16
@pytest.mark.slow
def test_products_in_bf16_keep_the_vectors_of_a_real_checkpoint(minilm_artifact: Artifact) -> None:
    sentences = Workload.shipped("embed", "latency").sample(200)
    path = minilm_artifact.directory
    exact: Any = load(path, engine="onnxruntime", variant="fp32")
    model: Any = load(path, engine="native-bf16", threads=1)
    together = model.encode(sentences)
    cosines = (together * exact.encode(sentences)).sum(axis=1)
    assert cosines.min() > 0.9999
    assert cosines.mean() > 0.99998
    for sentence, vector in zip(sentences, together, strict=True):
        assert model.encode(sentence).tobytes() == vector.tobytes()
    both: Any = load(path, engine="native-bf16", threads=2)
    assert both.encode(sentences).tobytes() == together.tobytes()


def test_products_in_bf16_are_for_fp32(tiny_artifact: Artifact) -> None:
    path = tiny_artifact.file("model.int8.onnx")
    message = f"{path} has products in int8, and bf16 is for float32: use variant='fp32'"
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        NativeEngine(path, is_bf16=True)
    record = find_engine("native-bf16")
    assert record is not None
    int8 = tiny_artifact.choose("int8")
    reason = "the engine native-bf16 does not run the variant int8 on cpu"
    assert record.why_not(int8, "cpu", tiny_artifact.directory) == reason
    message = (
        "the native engine does not read graphs in bf16: for products in bf16 use variant='fp32' "
        "and engine='native-bf16'"
    )
    for name in ("native", "native-static", "native-bf16"):
        with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
            open_engine(name, path, precision="bf16")


@pytest.mark.parametrize(
    ("fastest", "reason"),
    [
        (
            ("avx2", True, True, True),
            "this processor does not multiply bf16 in AMX, as Intel's since Sapphire Rapids do",
        ),
        (
            ("amx_int8", True, True, True, True, False),
            "the self-test of amx_int8 with bf16 failed",
        ),
    ],
    ids=["missing", "failed"],
)
def test_without_products_in_bf16_the_engine_and_the_doctor_give_the_reason(
    fastest: tuple[Any, ...],
    reason: str,
    tiny_artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = [InstructionSet(*fastest), InstructionSet("plain", *[True] * 5)]
    monkeypatch.setattr("lanner.engines.native.engine.instruction_sets", lambda: found)
    message = f"the engine native-bf16 does not run here, since {reason}: use engine='native'"
    with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
        load(tiny_artifact.directory, engine="native-bf16")
    main(["doctor", "--json"])
    assert json.loads(capsys.readouterr().out)["engines_refused_here"]["native-bf16"] == reason
    main(["doctor"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"native-bf16 does not run, since {reason} " in shown


def test_a_set_without_products_in_bf16_is_refused(tiny_artifact: Artifact) -> None:
    path = tiny_artifact.file("model.fp32.onnx")
    sets = [item for item in instruction_sets() if item.is_correct and not item.has_bf16]
    for name in (item.name for item in sets):
        reason = f"instruction set {name} has no kernels for bf16"
        message = f"the native engine could not load {path}: {reason}"
        with pytest.raises(EngineError, match=f"^{re.escape(message)}$"):
            NativeEngine(path, is_bf16=True, instruction_set=name)


@pytest.mark.slow
def test_the_bits_of_a_real_checkpoint_depend_on_nothing_but_the_text(
    minilm_artifact: Artifact,
) -> None:
    path = minilm_artifact.file("model.int8.onnx")
    sentences = Workload.shipped("embed", "latency").sample(16)
    model: Any = load(minilm_artifact.directory, variant="int8", engine="native", threads=2)
    ids = model.tokenizer.encode(sentences)
    longest = max(map(len, ids))
    inputs = {
        "input_ids": np.array([[*row, *[0] * (longest - len(row))] for row in ids]),
        "attention_mask": np.array([[1] * len(row) + [0] * (longest - len(row)) for row in ids]),
    }
    for is_per_token in (True, False):
        require_same_bits(path, inputs, is_per_token=is_per_token)
    together = model.encode(sentences)
    for sentence, vector in zip(sentences, together, strict=True):
        assert model.encode(sentence).tobytes() == vector.tobytes()


def test_a_model_of_every_head_answers_with_it(
    tiny_artifact: Artifact, scorer_artifact: Artifact, tagger_artifact: Artifact
) -> None:
    options: dict[str, Any] = {"engine": "native", "variant": "int8", "threads": 2}
    tiny: Any = load(tiny_artifact.directory, **options)
    assert tiny.runner.engine.name == "native"
    vectors = tiny.encode(["a man plays", "the guitar"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-6)
    pairs = [("a man", "a guitar"), ("the food", "a woman plays")]
    scorer: Any = load(scorer_artifact.directory, **options)
    reference: Any = load(scorer_artifact.directory, variant="int8", engine="onnxruntime")
    np.testing.assert_allclose(scorer.score(pairs), reference.score(pairs), atol=0.02)
    tagger: Any = load(tagger_artifact.directory, **options)
    assert all(entity.label in ("PER", "LOC") for entity in tagger.tag("a man plays"))


def test_auto_takes_it_for_int8_alone(tiny_artifact: Artifact) -> None:
    model: Any = load(tiny_artifact.directory)
    assert (model.variant.name, model.runner.engine.name) == ("int8", "native")
    exact: Any = load(tiny_artifact.directory, variant="fp32")
    assert exact.runner.engine.name == "onnxruntime"


def test_a_file_is_read_once_for_the_choice_and_the_engine(
    tiny_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = shutil.copytree(tiny_artifact.directory, tmp_path / "copy.lanner")
    read = list[Path]()

    def counted(path: Path) -> Plan:
        read.append(path)
        return read_plan(path)

    monkeypatch.setattr("lanner.engines.native.reading.read_plan", counted)
    model: Any = load(copy)
    assert model.runner.engine.name == "native"
    assert read == [copy / "model.int8.onnx"]
    again: Any = load(copy)  # whose graph is known by now
    assert len(read) == 2
    np.testing.assert_array_equal(again.encode("a man"), model.encode("a man"))


def test_auto_takes_another_engine_for_a_graph_that_it_does_not_know(
    tiny_artifact: Artifact, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_word_artifact(tmp_path / "words.lanner")
    with caplog.at_level("INFO", "lanner"):
        model: Any = load(tmp_path / "words.lanner", device="cpu")
    assert (model.variant.name, model.runner.engine.name) == ("int8", "onnxruntime")
    said = caplog.records[0].getMessage()
    assert "; not in native, since the native engine does not know " in said
    assert "load the artifact in another engine" not in said


@pytest.mark.parametrize(
    ("sets", "reason"),
    [
        ([("avx2", True, True, False)], "the self-test of avx2 failed"),
        ([("avx2", True, False, False)], "it has no kernels for this processor"),
    ],
    ids=["failed", "missing"],
)
def test_auto_takes_another_engine_where_plain_code_alone_is_left(
    sets: list[tuple[str, bool, bool, bool]],
    reason: str,
    tiny_artifact: Artifact,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    found = [InstructionSet(*item) for item in [*sets, ("plain", True, True, True)]]
    monkeypatch.setattr("lanner.engines.native.engine.instruction_sets", lambda: found)
    with caplog.at_level("INFO", "lanner"):
        model: Any = load(tiny_artifact.directory, device="cpu")
    assert (model.variant.name, model.runner.engine.name) == ("int8", "onnxruntime")
    assert caplog.records[0].getMessage().endswith(f"; not in native, since {reason}")
    main(["inspect", str(tiny_artifact.directory)])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"runs fp32, int8; auto does not take it, since {reason}" in shown
    main(["doctor"])
    shown = " ".join(capsys.readouterr().out.split())
    assert f"int8 by default, in onnxruntime; native is not taken, since {reason}" in shown


def test_the_scales_of_the_artifact_are_asked_for_by_the_name_of_the_engine(
    tiny_artifact: Artifact,
) -> None:
    texts = ["a man plays", "the guitar"]
    by_name: dict[str, Any] = {
        name: load(tiny_artifact.directory, engine=name, variant="int8").encode(texts)
        for name in ("native", "native-static", "onnxruntime")
    }
    path = tiny_artifact.file("model.int8.onnx")
    static = open_engine("native-static", path)
    assert static.name == "native-static"
    assert NativeEngine(path).name == "native"
    assert not np.array_equal(by_name["native"], by_name["native-static"])
    near, far = (
        np.abs(by_name[name] - by_name["onnxruntime"]).max() for name in ("native-static", "native")
    )
    assert near < far


def changed(inputs: Feed, name: str, place: tuple[int, int], value: int) -> Feed:
    values = inputs[name].copy()
    values[place] = value
    return {**inputs, name: values}


@pytest.mark.parametrize("value", [-1, 2_000, 2**40])
def test_a_token_beyond_the_table_is_refused(tiny_artifact: Artifact, value: int) -> None:
    path = tiny_artifact.file("model.int8.onnx")
    inputs = batch(read_plan(path))
    with pytest.raises(EngineError, match=r"could not run the batch: .*id"):
        NativeEngine(path).run(changed(inputs, "input_ids", (0, 2), value))


def test_a_longer_text_than_the_table_of_positions_is_refused(tiny_artifact: Artifact) -> None:
    feed = {name: np.ones((1, 65), np.int64) for name in ("input_ids", "attention_mask")}
    with pytest.raises(EngineError, match=r"could not run the batch: .*65"):
        NativeEngine(tiny_artifact.file("model.int8.onnx")).run(feed)


def test_padding_before_a_text_and_a_text_of_padding_are_refused(tiny_artifact: Artifact) -> None:
    engine = NativeEngine(tiny_artifact.file("model.int8.onnx"))
    inputs = batch(read_plan(tiny_artifact.file("model.int8.onnx")))
    message = "the attention mask of the text at index 2 hides tokens before or between others: "
    with pytest.raises(EngineError, match=re.escape(message)):
        engine.run(changed(inputs, "attention_mask", (2, 0), 0))
    message = "the attention mask hides all tokens of the text at index 1: send at least one"
    with pytest.raises(EngineError, match=re.escape(message)):
        engine.run(changed(inputs, "attention_mask", (1, 0), 0))


def test_an_unknown_instruction_set_is_refused(tiny_artifact: Artifact) -> None:
    path = tiny_artifact.file("model.int8.onnx")
    with pytest.raises(EngineError, match=f"could not load {re.escape(str(path))}: .*sse9"):
        NativeEngine(path, instruction_set="sse9")


def test_the_environment_names_the_instruction_set_of_every_model(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tiny_artifact.file("model.int8.onnx")
    monkeypatch.setenv("LANNER_NATIVE_INSTRUCTIONS", "plain")
    assert cast("NativeEngine", open_engine("native", path)).instruction_set == "plain"
    assert NativeEngine(path, instruction_set=usable()[0]).instruction_set == usable()[0]
    monkeypatch.setenv("LANNER_NATIVE_INSTRUCTIONS", "sse9")
    with pytest.raises(EngineError, match=f"could not load {re.escape(str(path))}: .*sse9"):
        open_engine("native", path)


def test_scales_of_the_artifact_are_for_int8(tiny_artifact: Artifact) -> None:
    with pytest.raises(
        EngineError, match="has no products in int8, so no scales: use engine='native'"
    ):
        open_engine("native-static", tiny_artifact.file("model.fp32.onnx"))


def test_a_thread_that_holds_a_model_to_the_end_is_no_leak(tiny_artifact: Artifact) -> None:
    code = """
import sys, threading, time, lanner
model = lanner.load(sys.argv[1], variant="int8", engine="native")
def hold(model=model): time.sleep(60)
threading.Thread(target=hold, daemon=True).start()
"""
    command = [sys.executable, "-c", code, str(tiny_artifact.directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert (done.stdout, done.stderr) == ("", "")


def test_plain_code_passes_its_self_test_and_each_set_says_what_it_is() -> None:
    found = instruction_sets()
    assert found[-1] == ("plain", True, True, True, True, True)
    assert all(item.is_correct for item in found if item.runs_here)
    assert all(item.is_bf16_correct for item in found if item.has_bf16)


def test_the_doctor_names_the_instruction_sets(capsys: pytest.CaptureFixture[str]) -> None:
    main(["doctor", "--json"])
    shown = json.loads(capsys.readouterr().out)
    assert shown["native_instruction_sets"] == dict.fromkeys(usable(), True)
    assert "native" not in shown["engines_refused_here"]
    main(["doctor"])
    line = f"native uses {usable()[0]}; passed their self-test: {', '.join(usable())}"
    assert line in capsys.readouterr().out


def test_without_its_module_the_extra_is_named(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "lanner_native", None)
    monkeypatch.delitem(sys.modules, "lanner.engines.native.engine")
    engine = find_engine("native")
    assert engine is not None
    with pytest.raises(MissingExtraError, match=re.escape("pip install 'lanner[native]'")):
        open_engine("native", tiny_artifact.file("model.int8.onnx"))


def test_a_module_of_the_interface_before_lacks_what_is_new(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanner_native.INTERFACE", 2)
    path = tiny_artifact.file("model.fp32.onnx")
    assert NativeEngine(path).name == "native"
    message = "has interface 2, and this version of Lanner needs 3: install the one beside it"
    with pytest.raises(EngineError, match=re.escape(message)):
        NativeEngine(path, is_bf16=True, instruction_set="plain")


def test_a_module_of_another_interface_is_not_taken(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lanner_native.INTERFACE", 1)
    monkeypatch.delitem(sys.modules, "lanner.engines.native.engine")
    message = "has interface 1, and this version of Lanner needs 3: install the one beside it"
    with pytest.raises(EngineError, match=re.escape(message)):
        open_engine("native", tiny_artifact.file("model.int8.onnx"))
    model: Any = load(tiny_artifact.directory, device="cpu")
    assert model.runner.engine.name == "onnxruntime"
    main(["doctor"])
    assert message in " ".join(capsys.readouterr().out.split())
