import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.quality_budget import QualityBudget
from lanner.engines import ENGINES, Engine, open_engine
from lanner.engines.registry import ONNXRUNTIME
from lanner.errors import EngineError, MissingExtraError, UnsupportedError
from lanner.loading import load as loading
from lanner.machine.machine import this_machine
from lanner.tune import floor as quality_floor
from lanner.tune.floor import QualityFloor

PROBES = ["a", "b c", "a b c d", "f"]
NOT_SAFE = "auto does not take it: name a --min-quality"


@pytest.fixture(autouse=True)
def _one_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quality_floor, "ENGINES", (ONNXRUNTIME,))


def floor_of(directory: Path, budget: str | None = None) -> QualityFloor:
    parsed = None if budget is None else QualityBudget.parse(budget)
    return QualityFloor(Artifact.open(directory), parsed, PROBES, threads=1)


def refusals(floor: QualityFloor) -> dict[str, str]:
    return {
        f"{variant.name} in {engine}": floor.refusal(engine, variant)
        for engine, variant in floor.candidates
    }


def edit_quality(directory: Path, **changes: Any) -> None:
    path = directory / QUALITY_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, **changes}))
    write_manifest(directory)


def reached(**values: float) -> dict[str, dict[str, float]]:
    return {name: {"value": value} for name, value in values.items()}


CARD = {"batch_independence_cosine": 1.0}
TASK = {
    "measure": "spearman",
    "checkpoint": {"value": 86.72},
    "variants": reached(fp32=86.71, int8=86.48),
}


def test_without_a_budget_what_auto_may_take_is_admitted(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = refusals(floor_of(word_artifact))
    assert found == {"fp32 in onnxruntime": "", "int8 in onnxruntime": ""}
    monkeypatch.setattr(Artifact, "safe_variants", lambda self: self.manifest.variants[:1])
    assert refusals(floor_of(word_artifact))["int8 in onnxruntime"] == NOT_SAFE


def test_what_depends_on_its_batch_by_the_card_is_refused(tmp_path: Path) -> None:
    moody = write_word_artifact(tmp_path / "moody", batch_independence=0.99)
    for budget in (None, "cosine:0.1"):
        found = refusals(floor_of(moody, budget))
        assert set(found.values()) == {"its answers depend on the batch"}


def test_int8_in_openvino_is_refused_where_it_depends_on_the_batch(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("openvino", reason="needs the openvino extra")
    slow = replace(this_machine(), cpu_flags=("avx2",))
    for module in ("engines.registry", "engines.onnxruntime", "engines.openvino"):
        monkeypatch.setattr(f"lanner.{module}.this_machine", lambda: slow)
    int8 = tiny_artifact.choose("int8")
    floor = floor_of(tiny_artifact.directory, "cosine:0.9")
    assert floor.refusal("openvino", int8) == (
        "its answers depend on the batch on a processor without VNNI (a cosine of 0.9956 was "
        "measured)"
    )
    assert floor.refusal("onnxruntime", int8) == ""


def test_the_native_engine_need_not_agree_with_the_card_where_it_is_nearer_to_fp32(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("lanner_native", reason="lanner-native is not built (make native)")
    monkeypatch.setattr(quality_floor, "ENGINES", ENGINES)
    monkeypatch.setattr(quality_floor, "ENGINE_COSINE", 1.0)
    int8 = tiny_artifact.choose("int8")
    judge = floor_of(tiny_artifact.directory)
    assert ("native", int8) in judge.candidates
    assert "native-static" not in {engine for engine, _ in judge.candidates}
    assert judge.refusal("native", int8) == ""
    assert judge.refusal("native-static", int8).startswith("answers differ from onnxruntime (cos")


def test_half_precision_must_be_asked_for_by_a_budget(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fp32, int8 = Artifact.open(word_artifact).manifest.variants
    edit_quality(word_artifact, variants=dict.fromkeys(("fp32", "bf16"), CARD))
    bf16 = replace(int8, name="bf16", precision="bf16")
    write_manifest(word_artifact, variants=[fp32, bf16])
    assert refusals(floor_of(word_artifact))["bf16 in onnxruntime"] == NOT_SAFE

    def open_other(name: str, path: Path, **options: Any) -> Engine:
        if (name, options["precision"]) == ("onnxruntime", "bf16"):
            msg = "no kernel"
            raise EngineError(msg)
        return open_engine("onnxruntime", path, **options)

    # The engine that it was made for may have no kernels for it, while another has.
    monkeypatch.setattr(loading, "open_engine", open_other)
    monkeypatch.setattr(quality_floor, "ENGINES", (ONNXRUNTIME, replace(ONNXRUNTIME, name="other")))
    found = refusals(floor_of(word_artifact, "cosine:0.99"))
    assert found["bf16 in onnxruntime"] == "no kernel"
    assert found["bf16 in other"] == ""


@pytest.mark.parametrize(
    ("budget", "fp32", "int8"),
    [
        ("spearman:0.25", "", ""),
        ("spearman:0.2", "", "spearman 86.48 (0.24 lost)"),
        ("spearman:0", "spearman 86.71 (0.01 lost)", "spearman 86.48 (0.24 lost)"),
        ("rank_correlation:0.97", "", ""),
        ("rank_correlation:0.99", "", "rank_correlation 0.9794"),
        ("neighbours@10:0.95", "", "neighbours@10 0.9071"),
    ],
)
def test_what_the_card_says_is_met_or_not(
    word_artifact: Path, budget: str, fp32: str, int8: str
) -> None:
    figures = {
        "fp32": {"neighbours@10": 1.0, "rank_correlation": 1.0},
        "int8": {"neighbours@10": 0.9071, "neighbours": 0.9794},  # an older name of the latter
    }
    agreement = {"variants": figures}
    edit_quality(word_artifact, task=TASK, agreement=agreement)
    found = refusals(floor_of(word_artifact, budget))
    assert found == {"fp32 in onnxruntime": fp32, "int8 in onnxruntime": int8}


@pytest.mark.parametrize(
    ("budget", "message"),
    [
        (
            "spearman:0.2",
            r"has no figures for spearman: export again with --quality-data FILE, or use cosine$",
        ),
        ("neighbours@10:0.9", r"has no figures for neighbours@10: export again, or use cosine$"),
        ("agreement:0.9", r"the budget agreement:0.9 does not fit this checkpoint, which has the "),
    ],
)
def test_what_cannot_be_measured_is_refused(word_artifact: Path, budget: str, message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        floor_of(word_artifact, budget)


def test_a_card_of_another_measure_is_no_answer(word_artifact: Path) -> None:
    edit_quality(word_artifact, task={**TASK, "measure": "pearson"})
    with pytest.raises(UnsupportedError, match=r"has no figures for spearman"):
        floor_of(word_artifact, "spearman:0.2")


def test_cosines_need_an_fp32_variant(word_artifact: Path) -> None:
    variants = Artifact.open(word_artifact).manifest.variants[1:]
    write_manifest(word_artifact, variants=variants)
    with pytest.raises(UnsupportedError, match=r"holds no fp32 variant to measure cosine against"):
        floor_of(word_artifact, "cosine:0.9")


class Skewed:
    """ONNX Runtime with skewed answers."""

    name = "skewed"
    run_tokens = 0

    def __init__(self, inner: Engine, *, by_batch: bool) -> None:
        self.inner = inner
        self.by_batch = by_batch

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        rows = self.inner.run(inputs, is_alone=is_alone)
        skew = 0.1 * (len(rows) - 1) if self.by_batch else 0.1
        return rows + np.array([skew, 0, 0, 0], np.float32)


@pytest.mark.parametrize(
    ("by_batch", "reason"),
    [
        (True, "its answers depend on the batch"),
        # The mean of 1 ("a"), 0.5 / sqrt(0.5 * 0.51) ("b c"), 0.275 / sqrt(0.25 * 0.31) ("a b c d")
        # and 1 / sqrt(1.01) ("f").
        (False, "answers differ from onnxruntime (cosine 0.9933)"),
    ],
    ids=["by batch", "always"],
)
def test_an_engine_that_answers_otherwise_is_refused(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch, by_batch: bool, reason: str
) -> None:
    def open_either(name: str, path: Path, **options: Any) -> Engine:
        inner = open_engine("onnxruntime", path, **options)
        return Skewed(inner, by_batch=by_batch) if name == "skewed" else inner

    monkeypatch.setattr(loading, "open_engine", open_either)
    monkeypatch.setattr(
        quality_floor, "ENGINES", (ONNXRUNTIME, replace(ONNXRUNTIME, name="skewed"))
    )
    found = refusals(floor_of(word_artifact))
    assert found["fp32 in onnxruntime"] == ""
    assert found["fp32 in skewed"] == reason


def test_without_the_engine_that_the_variant_was_made_for_another_may_do(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_other(name: str, path: Path, **options: Any) -> Engine:
        if name == "onnxruntime":
            raise MissingExtraError("the onnxruntime engine", name, name)
        return open_engine("onnxruntime", path, **options)

    monkeypatch.setattr(loading, "open_engine", open_other)
    monkeypatch.setattr(quality_floor, "ENGINES", (ONNXRUNTIME, replace(ONNXRUNTIME, name="other")))
    found = refusals(floor_of(word_artifact, "cosine:0.9"))
    assert "needs the package 'onnxruntime', which is not installed" in found["fp32 in onnxruntime"]
    assert found["fp32 in other"] == found["int8 in other"] == ""


def test_an_engine_that_fails_is_refused_with_its_words(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, path: Path, **_: Any) -> Engine:
        msg = f"{name} could not load {path.name}"
        raise EngineError(msg)

    monkeypatch.setattr(loading, "open_engine", refuse)
    found = refusals(floor_of(word_artifact, "cosine:0.9"))
    assert found["int8 in onnxruntime"] == "onnxruntime could not load model.int8.onnx"


def test_cosine_is_measured_here(tiny_artifact: Artifact) -> None:
    texts = ["a man is playing a guitar", "the train leaves at seven", "guitar"]
    loose, strict = (
        QualityFloor(tiny_artifact, QualityBudget.parse(text), texts, threads=1)
        for text in ("cosine:0.5", "cosine:1")
    )
    _, int8 = tiny_artifact.manifest.variants
    assert loose.refusal("onnxruntime", int8) == ""
    assert strict.refusal("onnxruntime", int8).startswith("cosine 0.9")


@pytest.mark.parametrize("head", ["scorer", "classifier", "tagger"])
def test_agreement_is_measured_here(head: str, request: pytest.FixtureRequest) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    texts: list[Any] = ["a man is playing a guitar", "the train leaves at seven", "guitar"]
    probes = [(text, "a train") for text in texts] if head == "scorer" else texts
    floor = QualityFloor(artifact, QualityBudget.parse("agreement:0.01"), probes, threads=1)
    assert refusals(floor)["fp32 in onnxruntime"] == ""


def test_on_a_gpu_its_own_engines_are_candidates(word_artifact: Path) -> None:
    pytest.importorskip("cuda.bindings.runtime", reason="needs the package cuda-bindings")
    from tests.support.gpu.artifact import add_engines, build  # noqa: PLC0415

    artifact = add_engines(word_artifact, int8=build(), fp16=build())
    floor = QualityFloor(artifact, None, PROBES, threads=1, device="cuda")
    assert [(engine, variant.name) for engine, variant in floor.candidates] == [
        ("tensorrt", "tensorrt-fp16"),
        ("tensorrt", "tensorrt-int8"),
        ("onnxruntime", "fp16"),
        ("onnxruntime", "fp32"),
    ]
    on_cpu = QualityFloor(artifact, None, PROBES, threads=1)
    assert [variant.name for _, variant in on_cpu.candidates] == ["fp32", "int8", "fp16"]


def test_engines_that_are_not_installed_are_no_candidates(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = replace(ONNXRUNTIME, name="absent", modules=("no_such_module",))
    monkeypatch.setattr(quality_floor, "ENGINES", (absent, ONNXRUNTIME))
    assert {engine for engine, _ in floor_of(word_artifact).candidates} == {"onnxruntime"}
