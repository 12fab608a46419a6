import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.engines import choose_engine, engine_names, open_engine, registry
from lanner.engines import onnxruntime as engine_module
from lanner.engines.onnxruntime import WEIGHTS_FILE
from lanner.errors import EngineError, MissingExtraError, VariantError
from lanner.machine.machine import this_machine

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


def feed_of(*shape: int) -> dict[str, NDArray[np.int64]]:
    ids = np.random.default_rng(0).integers(1_000, 20_000, shape)
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_all_cores_answer_as_one_does(minilm_artifact: Artifact, variant: str) -> None:
    path = minilm_artifact.file(f"model.{variant}.onnx")
    engine = open_engine("onnxruntime", path, precision=variant, threads=2, workers=2)
    one = open_engine("onnxruntime", path, precision=variant)
    for shape in ((1, 8), (1, 120)):
        answer = one.run(feed_of(*shape))
        for is_alone in (False, True):
            np.testing.assert_allclose(
                engine.run(feed_of(*shape), is_alone=is_alone), answer, atol=1e-6
            )


def test_both_sessions_map_the_same_weights(
    minilm_artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = minilm_artifact.file("model.fp32.onnx")
    engine = open_engine("onnxruntime", path, threads=2, workers=2)
    mapped = [
        line.split()[4]  # the file's inode
        for line in Path("/proc/self/maps").read_text().splitlines()
        if f"{tmp_path}/" in line and WEIGHTS_FILE in line
    ]
    assert len(mapped) >= 2
    assert len(set(mapped)) == 1
    assert not list(tmp_path.iterdir())
    assert engine.run(feed_of(2, 8)).shape == (2, 384)


def test_without_a_place_for_them_each_session_has_its_own_weights(
    word_artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    engine = open_engine("onnxruntime", word_artifact / "model.fp32.onnx", threads=2, workers=2)
    for is_alone in (False, True):
        assert engine.run(FEED, is_alone=is_alone).tolist() == [[0.5, 0.5, 0, 0], [1, 0, 0, 0]]


def test_an_onnxruntime_that_is_too_old_is_said_as_that(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in ("1.17.3", "1.24.0", "1.9.0.dev20210801"):
        monkeypatch.setattr("onnxruntime.__version__", version)
        with pytest.raises(
            EngineError,
            match=rf"^ONNX Runtime {version} is too old for the graphs of Lanner, which need "
            r"1.24.1: pip install 'onnxruntime>=1.24.1'$",
        ):
            open_engine("onnxruntime", word_artifact / "model.fp32.onnx", threads=2, workers=2)
    monkeypatch.setattr("onnxruntime.__version__", "1.100.0")
    open_engine("onnxruntime", word_artifact / "model.fp32.onnx")


LOADED = """
import os, sys
from pathlib import Path
import onnxruntime
from lanner.engines import open_engine
def resident_bytes():
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
before = resident_bytes()
threads = int(sys.argv[2])
engine = open_engine("onnxruntime", Path(sys.argv[1]), threads=threads, workers=threads)
print(resident_bytes() - before)
"""


@pytest.mark.parametrize("threads", [1, 2])
def test_no_second_copy_of_the_weights_stays_in_memory(threads: int, tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="needs the export extra to write a graph")
    width, layers = 1_024, 24  # as BERT-large's: parts that the C library does not return by itself
    text = "".join(f"x{i + 1} = MatMul(x{i}, w{i}) " for i in range(layers))
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["": 20]> g (float[b, {width}] x0) => '
        f"(float[b, {width}] x{layers}) {{ {text} }}"
    )
    generator = np.random.default_rng(0)  # ONNX Runtime keeps equal weights once
    for i in range(layers):
        weights = generator.normal(size=(width, width)).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, f"w{i}"))
    onnx.save(model, tmp_path / "model.onnx")
    command = [sys.executable, "-c", LOADED, str(tmp_path / "model.onnx"), str(threads)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1.4 * layers * width * width * 4


FORK = """
import os, sys
from pathlib import Path
import numpy as np
from lanner.engines import open_engine
engine = open_engine("onnxruntime", Path(sys.argv[1]), threads=2, workers=2)
feed = {name: np.ones((1, 8), np.int64) for name in ("input_ids", "attention_mask")}
answer = engine.run(feed, is_alone=True)
child = os.fork()
if child == 0:
    for is_alone in (True, False):
        assert np.allclose(engine.run(feed, is_alone=is_alone), answer, atol=1e-6)
    sys.exit(7)  # what ends an interpreter also ends the sessions
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_may_use_all_cores(minilm_artifact: Artifact) -> None:
    path = minilm_artifact.file("model.fp32.onnx")
    done = subprocess.run([sys.executable, "-c", FORK, str(path)], timeout=60, check=False)
    assert done.returncode == 7


def test_an_unknown_engine_names_those_there_are(word_artifact: Path) -> None:
    known = ", ".join(engine_names())
    with pytest.raises(VariantError, match=rf"'abacus': use {known} or 'auto'$"):
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
    monkeypatch.setattr(registry, "has_module", installed.__contains__)
    assert choose_engine(Variant("any", precision, "any", "onnxruntime", 23, {})) == chosen
    # What was made for another engine is no file for these.
    assert choose_engine(Variant("plan", "fp16", "plan", "tensorrt", 0, {})) == "tensorrt"


RANGES = {"data": "shipped sentences", "texts": 167}


@pytest.mark.parametrize(
    ("flags", "installed", "calibration", "is_refused"),
    [
        pytest.param(("avx2",), {"openvino"}, RANGES, True, id="OpenVINO without VNNI"),
        pytest.param(("avx2", "avx_vnni"), {"openvino"}, RANGES, False, id="with VNNI"),
        pytest.param(("avx2",), {"openvino"}, {}, False, id="a table that is looked up"),
        pytest.param(("avx2",), {"openvino", "onnxruntime"}, RANGES, False, id="another engine"),
    ],
)
def test_auto_takes_no_engine_whose_answers_depend_on_the_batch(
    flags: tuple[str, ...],
    installed: set[str],
    calibration: dict[str, Any],
    is_refused: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    machine = replace(this_machine(), cpu_flags=flags)
    monkeypatch.setattr(registry, "this_machine", lambda: machine)
    monkeypatch.setattr(registry, "has_module", installed.__contains__)
    variant = Variant("int8", "int8", "any", "onnxruntime", 23, {}, calibration=calibration)
    if not is_refused:
        assert choose_engine(variant) in installed
        return
    with pytest.raises(
        EngineError,
        match=r"^the variant int8 does not run in openvino by default, since its answers "
        r"depend on the batch on a processor without VNNI \(a cosine of 0.9956 was measured\): "
        r"pip install 'lanner\[onnxruntime\]', load fp32, or name engine='openvino'$",
    ):
        choose_engine(variant)


def test_auto_names_both_extras_where_neither_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "has_module", lambda _name: False)
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
