import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import lanner.engines as engines_module
from lanner.artifact import Artifact
from lanner.engines import choose_engine, open_engine
from lanner.engines import onnxruntime as engine_module
from lanner.errors import EngineError, MissingExtraError, VariantError
from lanner.machine import this_machine
from lanner.manifest import Variant

FEED = {
    "input_ids": np.array([[2, 3], [2, 0]], np.int64),
    "attention_mask": np.array([[1, 1], [1, 0]], np.int64),
}


def test_onnxruntime_runs_a_variant(word_artifact: Path) -> None:
    engine = open_engine("onnxruntime", word_artifact / "model.fp32.onnx")
    assert engine.name == "onnxruntime"
    assert engine.run(FEED).tolist() == [[0.5, 0.5, 0, 0], [1, 0, 0, 0]]


def test_int8_is_exact_without_the_fast_instructions(
    minilm_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = minilm_artifact.file("model.int8.onnx")
    ids = np.random.default_rng(0).integers(1_000, 20_000, (2, 8))
    feed = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    fast = engine_module.open_session(path).run(None, feed)[0]
    slow_machine = replace(this_machine(), cpu_flags=())
    monkeypatch.setattr(engine_module, "this_machine", lambda: slow_machine)
    slow = engine_module.open_session(path).run(None, feed)[0]
    assert np.abs(fast - slow).max() < 1e-5


def test_an_unknown_engine_names_those_there_are(word_artifact: Path) -> None:
    with pytest.raises(VariantError, match=r"'abacus': use onnxruntime, openvino or 'auto'$"):
        open_engine("abacus", word_artifact / "model.fp32.onnx")


@pytest.mark.parametrize(
    ("installed", "precision", "chosen"),
    [
        ({"onnxruntime", "openvino"}, "int8", "onnxruntime"),
        ({"onnxruntime", "openvino"}, "bf16", "openvino"),
        ({"onnxruntime"}, "bf16", "onnxruntime"),  # which says that it has no bf16
        ({"openvino"}, "int8", "openvino"),
    ],
)
def test_auto_takes_what_is_installed_and_fits(
    installed: set[str], precision: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        engines_module, "find_spec", lambda name: name if name in installed else None
    )
    assert choose_engine(Variant("any", precision, "any", "onnxruntime", 23, {})) == chosen
    # What was made for another engine is no file for these.
    assert choose_engine(Variant("plan", "fp16", "plan", "tensorrt", 0, {})) == "tensorrt"


def test_auto_names_both_extras_where_neither_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines_module, "find_spec", lambda _name: None)
    with pytest.raises(
        MissingExtraError,
        match=r"^running a model in process needs the package 'onnxruntime' or 'openvino', and has "
        r"neither: pip install 'lanner\[onnxruntime\]' or 'lanner\[openvino\]'$",
    ):
        choose_engine(Variant("any", "fp32", "any", "onnxruntime", 23, {}))


def test_a_damaged_graph_is_one_sentence(tmp_path: Path, word_artifact: Path) -> None:
    path = tmp_path / "half.onnx"
    path.write_bytes((word_artifact / "model.fp32.onnx").read_bytes()[:200])
    with pytest.raises(EngineError, match=r"^ONNX Runtime \S+ could not load .*half.onnx: .+$"):
        open_engine("onnxruntime", path)


def test_a_wrong_feed_is_one_sentence(word_artifact: Path) -> None:
    engine = open_engine("onnxruntime", word_artifact / "model.fp32.onnx")
    with pytest.raises(EngineError, match=r"^ONNX Runtime could not run the batch: .+$"):
        engine.run({"input_ids": FEED["input_ids"]})


def test_without_its_package_the_extra_is_named(word_artifact: Path) -> None:
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"  # as if it were not installed
        "import lanner\n"
        "try: lanner.load(sys.argv[1], engine='onnxruntime')\n"
        "except lanner.LannerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(word_artifact)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "the onnxruntime engine needs the package 'onnxruntime', which is not installed: "
        "pip install 'lanner[onnxruntime]'\n"
    )
