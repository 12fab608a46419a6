import importlib
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.checkpoints import word_rows

from lanner.artifact.artifact import Artifact
from lanner.engines import open_engine
from lanner.engines.registry import OPENVINO
from lanner.errors import EngineError
from lanner.loading.load import load
from lanner.machine.machine import this_machine

openvino = pytest.importorskip("openvino", reason="needs the openvino extra")
engine_module: Any = importlib.import_module("lanner.engines.openvino")

Feed = dict[str, NDArray[np.int64]]
#: Of the tiny checkpoints, whose tables of positions end here.
MAX_TOKENS = 64


def feed(artifact: Artifact, texts: int, length: int, padding: int = 0) -> Feed:
    """Random tokens, the same for each count, with so many masked ones behind."""
    drawn = np.random.default_rng(texts * 100 + length).integers(5, 60, (texts, length))
    ids = np.pad(drawn, ((0, 0), (0, padding)))
    mask = np.pad(np.ones_like(drawn), ((0, 0), (0, padding)))
    tensors = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
    return {name: tensors[name] for name in artifact.manifest.inputs}


def open_both(artifact: Artifact, variant: str, **options: Any) -> tuple[Any, Any]:
    path = artifact.file(f"model.{variant}.onnx")
    ours = open_engine("openvino", path, max_tokens=MAX_TOKENS, **options)
    return ours, open_engine("onnxruntime", path)


@pytest.fixture(scope="session")
def half_artifact(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """The artifact of `tiny_checkpoint` in half precision. Do not change it."""
    from lanner_export.export import export  # noqa: PLC0415

    directory = tmp_path_factory.mktemp("artifact") / "half.lanner"
    return export(tiny_checkpoint, directory, precisions=("fp32", "bf16", "fp16"))


@pytest.mark.parametrize("head", ["tiny", "scorer", "classifier", "tagger"])
def test_fp32_of_every_head_answers_as_onnxruntime_does(
    head: str, request: pytest.FixtureRequest
) -> None:
    artifact: Artifact = request.getfixturevalue(f"{head}_artifact")
    ours, reference = open_both(artifact, "fp32", threads=2, workers=2)
    assert ours.name == "openvino"
    # 37 and 61 tokens are filled up to 40 and to 64, which is as far as positions go.
    for texts, length in ((1, 1), (3, 7), (2, 37), (1, 61), (1, 64)):
        inputs = feed(artifact, texts, length)
        expected = reference.run(inputs)
        for is_alone in (False, True):
            answer = ours.run(inputs, is_alone=is_alone)
            assert (answer.dtype, answer.shape) == (np.float32, expected.shape)
            np.testing.assert_allclose(answer, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("length", "max_tokens", "filled"),
    [
        *[(1, 64, 1), (32, 64, 32), (33, 64, 36), (61, 62, 62), (64, 64, 64), (65, 512, 72)],
        *[(129, 512, 144), (256, 512, 256), (257, 512, 288), (499, 500, 500), (300, None, 300)],
    ],
)
def test_longer_inputs_come_in_few_lengths(
    length: int, max_tokens: int | None, filled: int
) -> None:
    assert engine_module._bucket(length, max_tokens) == filled


@pytest.mark.parametrize(
    ("length", "max_tokens", "filled"),
    [
        *[(1, 512, 4), (4, 512, 4), (5, 512, 8), (31, 512, 32), (33, 512, 40), (65, 512, 80)],
        *[(200, 512, 224), (510, 512, 512), (512, 512, 512), (99, 100, 100), (7, None, 7)],
    ],
)
def test_lone_inputs_come_in_still_fewer(length: int, max_tokens: int | None, filled: int) -> None:
    assert engine_module._alone_bucket(length, max_tokens) == filled


def test_a_lone_text_has_the_bits_of_one_in_a_batch(minilm_artifact: Artifact) -> None:
    engine, _ = open_both(minilm_artifact, "int8")
    text = feed(minilm_artifact, 1, 13)
    assert np.array_equal(engine.run(text, is_alone=True), engine.run(text))


def test_int8_does_not_depend_on_the_batch(minilm_artifact: Artifact) -> None:
    engine, reference = open_both(minilm_artifact, "int8")
    # Of these, four have other bits behind padding where attention is fused.
    texts = feed(minilm_artifact, 48, 30)
    alone = np.concatenate(
        [engine.run({k: v[i : i + 1] for k, v in texts.items()}) for i in range(48)]
    )
    padded = engine.run(feed(minilm_artifact, 48, 30, padding=19))
    if OPENVINO.batch_dependence(minilm_artifact.choose("int8")):
        # Not promised on this processor; see there. tests/end_to_end/test_other_processor.py
        # emulates one.
        assert (alone * padded).sum(axis=1).min() > 0.98
    else:
        assert np.array_equal(alone, padded)
    assert (alone * reference.run(texts)).sum(axis=1).min() > 0.98


def test_int8_is_right_without_the_fast_instructions(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = feed(tiny_artifact, 4, 12)
    slow_machine = replace(this_machine(), cpu_flags=())
    monkeypatch.setattr(engine_module, "this_machine", lambda: slow_machine)
    slow, reference = open_both(tiny_artifact, "int8")
    np.testing.assert_allclose(slow.run(inputs), reference.run(inputs), rtol=0, atol=2e-3)


@pytest.mark.slow
def test_bf16_is_computed_where_the_cpu_has_it(
    half_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = feed(half_artifact, 4, 12)
    if this_machine().has_bf16:
        ours = open_engine("openvino", half_artifact.file("model.bf16.onnx"))
        reference = open_engine("onnxruntime", half_artifact.file("model.fp32.onnx"))
        difference = np.abs(ours.run(inputs) - reference.run(inputs)).max()
        assert 1e-4 < difference < 2e-2  # bf16 has 8 bits
    monkeypatch.setattr(
        engine_module, "this_machine", lambda: replace(this_machine(), cpu_flags=())
    )
    with pytest.raises(
        EngineError,
        match=r"model.bf16.onnx needs a CPU with bf16 \(avx512_bf16 or amx_bf16\), which this CPU "
        r"lacks: load the variant fp32 or int8$",
    ):
        open_engine("openvino", half_artifact.file("model.bf16.onnx"))


def test_fp16_is_refused_where_the_cpu_has_it_not(half_artifact: Artifact) -> None:
    if "FP16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        pytest.skip("this CPU multiplies fp16")
    with pytest.raises(EngineError, match=r"needs a CPU with fp16, which this CPU lacks: load the"):
        open_engine("openvino", half_artifact.file("model.fp16.onnx"))


def test_any_number_of_threads_may_call_at_once(tiny_artifact: Artifact) -> None:
    engine, reference = open_both(tiny_artifact, "fp32", threads=2, workers=2)
    feeds = [feed(tiny_artifact, 1 + i % 5, 3 + i % 7) for i in range(60)]
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: engine.run(feeds[i], is_alone=i % 9 == 0), range(60)))
    # Compared when all are there: each must have memory of its own.
    for answer, inputs in zip(answers, feeds, strict=True):
        np.testing.assert_allclose(answer, reference.run(inputs), rtol=1e-5, atol=1e-5)


def test_word_vectors_answer_as_in_onnxruntime(word_artifact: Path, tmp_path: Path) -> None:
    engine = open_engine("openvino", word_artifact / "model.fp32.onnx")
    ids = np.array([[2, 3], [2, 0]], np.int64)
    inputs = {"input_ids": ids, "attention_mask": np.array([[1, 1], [1, 0]], np.int64)}
    assert engine.run(inputs).tolist() == [[0.5, 0.5, 0, 0], [1, 0, 0, 0]]

    from lanner_export.graph.lookup import LookupTable, write_lookup_graph  # noqa: PLC0415

    generator = np.random.default_rng(0)
    table = LookupTable(
        word_rows(tmp_path, generator.normal(size=(5, 8))),
        weights=generator.uniform(0.5, 1.5, 9).astype(np.float32),
        mapping=generator.integers(0, 5, 9),
        ignored_ids=(1,),
        normalize=True,
    )
    inputs = {
        "input_ids": generator.integers(0, 9, (3, 70)),
        "attention_mask": np.ones((3, 70), int),
    }
    for precision in ("fp32", "int8"):
        path = tmp_path / f"{precision}.onnx"
        write_lookup_graph(path, table, precision)
        answer, expected = (open_engine(n, path).run(inputs) for n in ("openvino", "onnxruntime"))
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-6)


def test_memory_is_bounded_over_shapes(
    minilm_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module, "KERNELS_ALONE", 16)
    engine = open_engine("openvino", minilm_artifact.file("model.int8.onnx"))

    def run(lengths: range) -> int:
        for length in lengths:
            engine.run(feed(minilm_artifact, 1, length))
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    before = run(range(3, 33))
    # Where the kernels of all shapes are kept, these take 150 MB.
    assert run(range(33, 73)) - before < 50e6


def test_free_memory_is_returned_once_in_so_many_runs(
    tiny_artifact: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[int] = []
    trims: list[int] = []
    monkeypatch.setattr(engine_module, "_RUNS_PER_TRIM", 3)
    monkeypatch.setattr(engine_module, "return_free_memory", lambda: trims.append(len(runs)))
    engine = open_engine("openvino", tiny_artifact.file("model.fp32.onnx"), max_tokens=MAX_TOKENS)
    for number in range(1, 8):
        runs.append(number)
        engine.run(feed(tiny_artifact, 1, 4))
    assert trims == [0, 3, 6]  # the first behind the load


def test_a_model_is_loaded_into_it(tiny_artifact: Artifact) -> None:
    model = load(tiny_artifact.directory, engine="openvino", variant="fp32", threads=2)
    reference = load(tiny_artifact.directory, engine="onnxruntime", variant="fp32")
    assert "engine='openvino'" in repr(model)
    texts = ["a man is playing a guitar", "", "How do I reset my password?", "🎸 吉他"]
    np.testing.assert_allclose(model.encode(texts), reference.encode(texts), rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "it holds no graph"),
        (b"no graph at all", "Model can't be parsed"),
        (None, "Could"),
    ],
    ids=["empty", "damaged", "missing"],
)
def test_a_damaged_graph_is_one_sentence(
    tmp_path: Path, content: bytes | None, reason: str
) -> None:
    path = tmp_path / "half.onnx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(
        EngineError, match=rf"^OpenVINO \S+ could not load .*half.onnx: {reason}.*$"
    ):
        open_engine("openvino", path)


def test_an_openvino_that_is_too_old_is_refused(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine_module.ov, "get_version", lambda: "2026.2.0-21903-52ddc073857")
    with pytest.raises(
        EngineError,
        match=r"^OpenVINO 2026.2.0 gives wrong results for graphs with attention: pip install "
        r"'openvino>=2026.4'$",
    ):
        open_engine("openvino", word_artifact / "model.fp32.onnx")


def test_an_operator_that_it_does_not_know_is_named(tmp_path: Path) -> None:
    import onnx  # noqa: PLC0415

    graph = (
        '<ir_version: 10, opset_import: ["": 20, "odd": 1]> g (int64[b, l] x) => (float[b, l] y)'
    )
    path = tmp_path / "odd.onnx"
    onnx.save(onnx.parser.parse_model(f"{graph} {{ y = odd.Strange(x) }}"), path)
    with pytest.raises(EngineError, match=r"could not load .*odd.onnx: .*Strange"):
        open_engine("openvino", path)


def test_a_wrong_feed_is_one_sentence(tiny_artifact: Artifact) -> None:
    engine, _ = open_both(tiny_artifact, "fp32")
    whole = feed(tiny_artifact, 2, 3)
    engine.run(whole)  # what it was given here must not stand in for what is missing below
    short = {**whole, "attention_mask": np.ones((2, 2), np.int64)}
    for wrong in ({"input_ids": whole["input_ids"]}, {**whole, "more": whole["input_ids"]}, short):
        with pytest.raises(
            EngineError, match=r"^OpenVINO could not run the batch: it takes attention_mask, input_"
        ):
            engine.run(wrong)
    too_long = feed(tiny_artifact, 1, MAX_TOKENS + 1)
    with pytest.raises(
        EngineError, match=r"^OpenVINO could not run the batch: 65 tokens, at most 64$"
    ):
        engine.run(too_long)
    engine.run(whole)


def test_it_writes_nothing_into_the_home_directory(word_artifact: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = (
        "import sys, lanner\n"
        "model = lanner.load(sys.argv[1], engine='openvino', variant='fp32')\n"
        "print(model.encode('a b').tolist())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(word_artifact)],
        # CI turns telemetry off by itself.
        env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": "", "CI": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "[0.5, 0.5, 0.0, 0.0]\n"
    assert done.stderr == ""
    assert list(home.iterdir()) == []


SIGNAL = """
import signal, sys, threading
from pathlib import Path
from lanner.engines import open_engine
held = [open_engine("openvino", Path(sys.argv[1]))]
last = threading.Thread(target=held.clear)  # unmaps the stack, and gives this thread none back
last.start()
last.join()
signal.signal(signal.SIGTERM, lambda *_: print("handled"))
signal.raise_signal(signal.SIGTERM)
"""


def test_a_signal_is_handled_after_it_was_used(word_artifact: Path) -> None:
    # On processors with AMX OpenVINO leaves the thread that loads it a signal stack of its own.
    path = word_artifact / "model.fp32.onnx"
    done = subprocess.run(
        [sys.executable, "-c", SIGNAL, str(path)], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n")


FIRST_CALLS = """
import faulthandler, gc, sys, threading, time
from pathlib import Path
import numpy as np
from lanner.engines import open_engine
faulthandler.dump_traceback_later(20, exit=True)
engine = open_engine("openvino", Path(sys.argv[1]), threads=8, workers=8)
feed = {name: np.ones((2, 4), np.int64) for name in ("input_ids", "attention_mask")}
begin = threading.Barrier(8)
def first_call():
    begin.wait()
    engine.run(feed)
callers = [threading.Thread(target=first_call) for _ in range(8)]
# Callers change within whatever makes an object: 3 of 4 such processes froze, and else 1 in 50.
sys.setswitchinterval(1e-6)
gc.callbacks.append(lambda *_: time.sleep(0.0005))
gc.set_threshold(1)
for caller in callers: caller.start()
for caller in callers: caller.join()
"""


def test_first_calls_at_once_do_not_freeze(word_artifact: Path) -> None:
    path = word_artifact / "model.fp32.onnx"
    done = subprocess.run(
        [sys.executable, "-c", FIRST_CALLS, str(path)],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


CHILDREN = """
import os, signal, sys, lanner
def answer():
    model = lanner.load(sys.argv[1], engine="openvino", variant="fp32", threads=2)
    return model.encode(["a", "b b"] * 100)[1].tolist()
expected = answer()
child = os.fork()
if child == 0:
    signal.alarm(20)
    sys.exit(7 if answer() == expected else 1)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_forked_child_may_load_a_model_of_its_own(word_artifact: Path) -> None:
    command = [sys.executable, "-c", CHILDREN, str(word_artifact)]
    assert subprocess.run(command, timeout=60, check=False).returncode == 7


def test_without_its_package_the_extra_is_named(word_artifact: Path) -> None:
    code = (
        "import sys; sys.modules['openvino'] = None\n"  # as if it were not installed
        "import lanner\n"
        "try: lanner.load(sys.argv[1], engine='openvino')\n"
        "except lanner.LannerError as error: print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(word_artifact)], capture_output=True, text=True, check=True
    )
    assert done.stdout == (
        "the openvino engine needs the package 'openvino', which is not installed: "
        "pip install 'lanner[openvino]'\n"
    )
