"""One record makes an engine known: to `lanner.load`, the doctor, tuning and the help texts."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lanner
from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.commands import doctor, main
from lanner.engines import ENGINES, choose_engine, engine_names, find_engine, open_engine, registry
from lanner.engines.registry import ONNXRUNTIME, OPENVINO, TENSORRT, Opening
from lanner.errors import MissingExtraError, VariantError
from lanner.loading import tuned
from lanner.tune import floor
from lanner.tune.floor import QualityFloor

GRAPH = Variant("fp32", "fp32", "model.fp32.onnx", "onnxruntime", 23, {})
PLAN = Variant("l4", "fp16", "model.plan", "tensorrt", 23, {})
OWN = Variant("own", "int8", "model.abacus", "abacus", 23, {})


class Abacus:
    """Answers [1, 0, 0, 0] to every text."""

    name, run_tokens = "abacus", 0

    def __init__(self, opening: Opening) -> None:
        self.opening = opening

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        return np.eye(4, dtype=np.float32)[[0] * len(inputs["input_ids"])]


ABACUS = replace(
    ONNXRUNTIME,
    name="abacus",
    title="Abacus",
    extra="beads",
    modules=("abacus_beads",),
    packages=("abacus-beads",),
    devices=("cpu",),
    open=Abacus,
)


@pytest.fixture
def _abacus(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (registry, doctor, tuned, floor):
        monkeypatch.setattr(module, "ENGINES", (ONNXRUNTIME, OPENVINO, TENSORRT, ABACUS))


@pytest.mark.usefixtures("_abacus")
def test_a_record_is_enough_for_load(word_artifact: Path) -> None:
    model = lanner.load(word_artifact, engine="abacus", threads=3, workers=2)
    assert model.encode("b").tolist() == [1, 0, 0, 0]
    engine: Any = model.runner.engine
    opening = engine.opening
    assert (opening.path.name, opening.threads, opening.workers, opening.device) == (
        "model.fp32.onnx" if opening.precision == "fp32" else "model.int8.onnx",
        3,
        2,
        "cpu",
    )


@pytest.mark.usefixtures("_abacus")
def test_a_record_is_enough_for_the_messages(word_artifact: Path) -> None:
    with pytest.raises(
        VariantError, match=r"use onnxruntime, openvino, tensorrt, abacus or 'auto'$"
    ):
        open_engine("beads", word_artifact / "model.fp32.onnx")


@pytest.mark.usefixtures("_abacus")
def test_a_record_is_enough_for_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["encode", "--help"])
    assert "onnxruntime, openvino, tensorrt, abacus, or auto" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.usefixtures("_abacus")
def test_a_record_is_enough_for_the_doctor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert "abacus" not in found["engines"]
    assert found["engines_refused_here"]["abacus"] == (
        "missing abacus_beads: pip install 'lanner[beads]'"
    )
    monkeypatch.setattr(registry, "has_module", lambda _name: True)
    monkeypatch.setattr(registry, "package_version", lambda name: f"{name} 1")
    assert doctor.installed_engines() == {
        "onnxruntime": "onnxruntime 1",
        "openvino": "openvino 1",
        "abacus": "abacus-beads 1",
    }
    assert "abacus" not in doctor.refused_engines()


@pytest.mark.usefixtures("_abacus")
def test_a_record_is_enough_for_tuning(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "has_module", lambda _name: True)
    candidates = QualityFloor(
        Artifact.open(word_artifact), None, ["a", "b c"], threads=1
    ).candidates
    assert [engine for engine, variant in candidates if variant.name == "fp32"] == [
        "onnxruntime",
        "openvino",
        "abacus",
    ]


@pytest.mark.usefixtures("_abacus")
def test_auto_prefers_the_order_of_the_table_and_the_best_precision(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "has_module", {"abacus_beads", "openvino"}.__contains__)
    assert choose_engine(GRAPH) == "openvino"
    first = replace(ABACUS, best_precisions=frozenset({"fp32"}))
    monkeypatch.setattr(registry, "ENGINES", (*ENGINES, first))
    assert choose_engine(GRAPH) == "abacus"


def test_an_engine_with_files_of_its_own_runs_no_graph(monkeypatch: pytest.MonkeyPatch) -> None:
    own = replace(ABACUS, model_format="abacus")
    monkeypatch.setattr(registry, "ENGINES", (own, *ENGINES))
    monkeypatch.setattr(registry, "has_module", lambda _name: True)
    assert [own.runs(variant, "cpu") for variant in (GRAPH, PLAN, OWN)] == [False, False, True]
    assert (choose_engine(GRAPH), choose_engine(OWN)) == ("onnxruntime", "abacus")
    monkeypatch.setattr(registry, "has_module", lambda _name: False)
    with pytest.raises(
        MissingExtraError,
        match=r"^running a model in process needs the package 'abacus_beads', which is not "
        r"installed: pip install 'lanner\[beads\]'$",
    ):
        choose_engine(OWN)


def test_a_file_of_an_engine_that_is_not_known_runs_in_none() -> None:
    assert not any(engine.runs(OWN, device) for engine in ENGINES for device in engine.devices)
    assert find_engine("abacus") is None


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("openvino", "cuda", "the engine openvino does not run on cuda: use cpu"),
        ("tensorrt", "cpu", "the engine tensorrt does not run on cpu: use cuda"),
    ],
)
def test_an_engine_is_not_opened_where_it_does_not_run(
    name: str, device: str, message: str, word_artifact: Path
) -> None:
    with pytest.raises(VariantError, match=f"^{re.escape(message)}$"):
        open_engine(name, word_artifact / "model.fp32.onnx", device=device)


def test_what_the_machine_lacks_is_said_before_what_could_be_installed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(registry, "has_module", lambda _name: False)
    monkeypatch.setattr(registry, "missing_gpu", lambda: "its driver finds no GPU")
    assert TENSORRT.refusal() == "it needs an NVIDIA GPU, but its driver finds no GPU"
    assert OPENVINO.refusal() == "missing openvino: pip install 'lanner[openvino]'"


def test_the_names_are_those_of_the_table() -> None:
    assert engine_names() == [engine.name for engine in ENGINES]
    assert engine_names()[0] == "onnxruntime"
