import contextlib
import gc
import logging
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from tests.support.gpu import host_cuda
from tests.support.gpu.artifact import H100, add_engines, build
from tests.support.gpu.host_cuda import HostCuda
from tests.support.gpu.host_tensorrt import VERSION, HostTensorRt, expected, write_plan

from lanner.artifact.engine_build import EngineBuild, Profile
from lanner.engines import open_engine
from lanner.engines.tensorrt import library as tensorrt_library
from lanner.errors import EngineError
from lanner.loading import selection
from lanner.loading.load import load

#: Two buckets of one length each.
BUCKETS = [Profile((1, 8), (4, 8), (8, 8)), Profile((1, 16), (2, 16), (8, 16))]
Inputs = dict[str, NDArray[np.int64]]


def texts(*lengths: int, seed: int = 0) -> Inputs:
    """Random tokens of so many texts, filled up to the longest."""
    ids = np.random.default_rng(seed).integers(1, 1_000, (len(lengths), max(lengths)))
    mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
    return {"input_ids": ids * mask, "attention_mask": mask}


class Machine:
    """A machine with a GPU, in the memory of this one."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        from lanner.engines.tensorrt import cuda, deserialized  # noqa: PLC0415
        from lanner.engines.tensorrt import engine as tensorrt  # noqa: PLC0415
        from lanner.engines.tensorrt import library as tensorrt_library  # noqa: PLC0415

        self.cuda = HostCuda()
        self.trt = HostTensorRt(self.cuda)
        self.path = directory / "model.plan"
        tensorrt_library.only_log.cache_clear()
        monkeypatch.setattr(cuda, "runtime", self.cuda)
        monkeypatch.setattr(tensorrt_library, "tensorrt", lambda: self.trt)
        monkeypatch.setattr(deserialized, "tensorrt", lambda: self.trt)
        monkeypatch.setattr(tensorrt, "require_gpu", lambda _: H100)
        monkeypatch.setattr("lanner.engines.registry.require_gpu", lambda _: H100)

    def open(self, profiles: list[Profile] | None = None, **changes: Any) -> Any:
        build = write_plan(self.path, profiles or BUCKETS, **changes)
        return open_engine("tensorrt", self.path, build=build)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    made = Machine(tmp_path, monkeypatch)
    yield made
    gc.collect()
    assert not made.cuda.allocations, "all memory is given back"
    assert not made.cuda.streams
    assert not made.cuda.graphs
    assert not made.cuda.captured
    tensorrt_library.only_log.cache_clear()


@pytest.mark.parametrize("lengths", [(3,), (8, 1), (9, 16, 2), (1,) * 8], ids=str)
def test_it_answers_what_the_model_does(machine: Machine, lengths: tuple[int, ...]) -> None:
    engine = machine.open()
    inputs = texts(*lengths)
    # Plainly, captured, and as a graph.
    for _ in range(3):
        np.testing.assert_array_equal(engine.run(inputs), expected(inputs))
    assert engine.name == "tensorrt"
    assert engine.run(inputs).dtype == np.float32


def test_an_answer_is_the_callers_own(machine: Machine) -> None:
    engine = machine.open()
    first, second = texts(3, seed=1), texts(3, seed=2)
    kept = engine.run(first)
    engine.run(second)
    np.testing.assert_array_equal(kept, expected(first))


def test_a_row_a_token_is_without_the_filling(machine: Machine) -> None:
    engine = machine.open(answers="token")
    inputs = texts(3, 5, 4)
    for _ in range(3):
        answer = engine.run(inputs)
        assert answer.shape == (3, 5, 2)
        np.testing.assert_array_equal(answer, expected(inputs, "token"))


def test_shapes_are_those_of_the_profiles(machine: Machine) -> None:
    engine = machine.open()
    engine.run(texts(3, 2, 2, 2, 2))
    engine.run(texts(9))
    # Five texts run as six, so that there are few shapes.
    assert machine.trt.runs == [(6, 8), (1, 16)]


def test_a_batch_below_a_profile_is_filled_up(machine: Machine) -> None:
    engine = machine.open([Profile((4, 16), (4, 16), (8, 32))])
    inputs = texts(3, 2)
    np.testing.assert_array_equal(engine.run(inputs), expected(inputs))
    assert machine.trt.runs == [(4, 16)]


def test_a_batch_beyond_a_profile_runs_in_parts(machine: Machine) -> None:
    engine = machine.open()
    inputs = texts(*range(1, 9), *range(1, 9), 5)
    np.testing.assert_array_equal(engine.run(inputs), expected(inputs))
    assert machine.trt.runs == [(6, 8)] * 4  # the second twice, to be captured


def test_a_length_beyond_every_profile_is_named(machine: Machine) -> None:
    message = (
        r"^TensorRT could not run the batch: 17 tokens, but the longest profile of the engine "
        r"takes 16: build it with longer profiles \('lanner build-engine'\), or load another var"
    )
    engine = machine.open()
    with pytest.raises(EngineError, match=message):
        engine.run(texts(17))


def test_other_inputs_are_refused(machine: Machine) -> None:
    engine = machine.open()
    ids = np.ones((1, 2), np.int64)
    with pytest.raises(EngineError, match=r"it takes attention_mask, input_ids of one shape, not"):
        engine.run({"input_ids": ids})
    with pytest.raises(EngineError, match=r"it takes attention_mask, input_ids of one shape, not"):
        engine.run({"input_ids": ids, "attention_mask": ids[:, :1]})


def test_an_engine_of_int32_ids(machine: Machine) -> None:
    types = {"input_ids": "INT32", "attention_mask": "INT32", "sentence_embedding": "FLOAT"}
    engine = machine.open(types=types)
    for _ in range(3):
        np.testing.assert_array_equal(engine.run(texts(3, 5)), expected(texts(3, 5)))


def test_a_shape_that_comes_again_is_one_launch(machine: Machine) -> None:
    engine = machine.open()
    for seed in range(5):
        inputs = texts(3, 5, seed=seed)
        np.testing.assert_array_equal(engine.run(inputs), expected(inputs))
    # The first ran by itself, and the second twice: a context puts things off until its first run.
    assert machine.cuda.launches == 4
    assert machine.trt.runs == [(2, 8)] * 6


def test_each_graph_has_a_context_of_its_own(machine: Machine) -> None:
    engine = machine.open()
    assert machine.trt.contexts == 2
    for _ in range(4):
        for lengths in ((3,), (3, 5), (3, 5, 7), (3, 9)):
            np.testing.assert_array_equal(engine.run(texts(*lengths)), expected(texts(*lengths)))
    assert machine.trt.contexts == 2 + 4
    assert machine.cuda.graphs == 4


def test_graphs_are_bounded(machine: Machine) -> None:
    from lanner.engines.tensorrt.engine import TensorRtEngine  # noqa: PLC0415

    build = write_plan(machine.path, BUCKETS)
    engine = TensorRtEngine(machine.path, build, max_graphs=2)
    for _ in range(2):
        for rows in (1, 1, 2, 2, 3, 3):
            inputs = texts(*[4] * rows)
            np.testing.assert_array_equal(engine.run(inputs), expected(inputs))
            assert machine.cuda.graphs <= 2
    # Each was captured anew when its turn came again.
    assert machine.cuda.launches == 6


def test_large_batches_run_without_graphs(machine: Machine) -> None:
    engine = machine.open([Profile((1, 64), (64, 64), (128, 64))])
    for _ in range(3):
        engine.run(texts(*[64] * 65))
    assert machine.cuda.graphs == 0
    # Nor are they filled up to the next number of texts.
    assert machine.trt.runs == [(65, 64)] * 3


@pytest.mark.parametrize("captures", [False, "fails"])
def test_what_cannot_be_captured_runs_without(
    machine: Machine, caplog: pytest.LogCaptureFixture, captures: bool | str
) -> None:
    engine = machine.open(captures=captures)
    with caplog.at_level(logging.WARNING, "lanner"):
        for _ in range(4):
            np.testing.assert_array_equal(engine.run(texts(3, 5)), expected(texts(3, 5)))
    (record,) = caplog.records
    assert record.getMessage() == (
        "profile 0 runs without CUDA graphs: TensorRT could not run the batch: Error Code 1: "
        "operation not permitted in a capture"
    )


def test_a_thread_that_works_on_another_gpu_keeps_it(machine: Machine) -> None:
    machine.cuda.cudaSetDevice(1)
    engine = machine.open()
    for _ in range(3):
        np.testing.assert_array_equal(engine.run(texts(3, 5)), expected(texts(3, 5)))
    assert machine.cuda.cudaGetDevice()[1] == 1
    with pytest.raises(EngineError, match=r"17 tokens, but the longest profile of the engine tak"):
        engine.run(texts(17))
    assert machine.cuda.cudaGetDevice()[1] == 1


def test_all_of_a_process_share_one_log(machine: Machine) -> None:
    first, second = machine.open(), machine.open()
    assert first._deserialized._log is second._deserialized._log


def test_after_a_shape_that_is_refused_the_one_before_is_set_anew(machine: Machine) -> None:
    from lanner.engines.tensorrt.engine import TensorRtEngine  # noqa: PLC0415

    build = write_plan(machine.path, BUCKETS)
    engine = TensorRtEngine(machine.path, build, max_graphs=0)
    np.testing.assert_array_equal(engine.run(texts(3)), expected(texts(3)))
    machine.trt.refuses_last = True
    message = (
        r"^TensorRT does not take attention_mask of shape \(2, 8\): Error Code 3: attention_mask "
        r"is refused$"
    )
    with pytest.raises(EngineError, match=message):
        engine.run(texts(3, 5))
    machine.trt.refuses_last = False
    np.testing.assert_array_equal(engine.run(texts(4)), expected(texts(4)))


def test_memory_that_is_refused_is_named(machine: Machine) -> None:
    message = (
        r"^TensorRT does not take the memory of attention_mask: Error Code 3: attention_mask has "
        r"another address$"
    )
    with pytest.raises(EngineError, match=message):
        machine.open(unaddressed=["attention_mask"])


def test_what_lasts_until_the_process_ends_says_so(machine: Machine) -> None:
    engine = machine.open()
    engine.run(texts(3))
    machine.cuda.lost = host_cuda.real.cudaError_t.cudaErrorIllegalAddress
    message = (
        r"^CUDA could not run the batch: an illegal memory access was encountered \(cudaErrorI"
        r"llegalAddress\): the GPU no longer works for this process, so restart it$"
    )
    for _ in range(2):
        with pytest.raises(EngineError, match=message):
            engine.run(texts(3))


def test_a_whole_model(
    machine: Machine, word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (selection, tensorrt_library):
        monkeypatch.setattr(module, "this_gpu", lambda: H100, raising=False)
    monkeypatch.setattr(tensorrt_library, "tensorrt_version", lambda: VERSION)
    monkeypatch.setattr("lanner.loading.selection.require_gpu", lambda _: H100)
    add_engines(word_artifact, fp16=build())
    model = load(word_artifact)
    assert model.runner.engine.name == "tensorrt"
    # The words "a" to "f" are 2 to 7: the sum, how many, the first and the last.
    assert model.encode("a b").tolist() == [5, 2, 2, 3]
    assert model.encode(["f", "c a a", "b b b b", "e f"]).tolist() == [
        [7, 1, 7, 7],
        [8, 3, 4, 2],
        [12, 4, 3, 3],
        [13, 2, 6, 7],
    ]
    # All in one batch, though there are two workers.
    assert machine.trt.runs == [(1, 2), (4, 4)]


def test_many_threads_at_once(machine: Machine) -> None:
    engine = machine.open()
    random = np.random.default_rng(0)
    batches = [texts(*random.integers(1, 17, random.integers(1, 12)), seed=i) for i in range(200)]
    start = threading.Barrier(8)

    def run(some: list[Inputs]) -> list[NDArray[np.float32]]:
        start.wait()
        return [engine.run(inputs) for inputs in some]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(run, [batches[i::8] for i in range(8)]))
    for i, some in enumerate(answers):
        for inputs, answer in zip(batches[i::8], some, strict=True):
            np.testing.assert_array_equal(answer, expected(inputs))


def test_a_forked_process_is_refused(machine: Machine) -> None:
    engine = machine.open()

    def ask(found: Any) -> None:
        try:
            engine.run(texts(3))
        except EngineError as error:
            found.put(str(error))

    context = multiprocessing.get_context("fork")
    found = context.SimpleQueue()
    process = context.Process(target=ask, args=(found,))
    process.start()
    process.join()
    assert found.get() == (
        "CUDA does not work in a forked process: load the model in the process that uses it"
    )


def test_without_room_it_says_how_much_is_needed(machine: Machine) -> None:
    machine.cuda.memory_bytes = 2**21
    message = (
        r"^the GPU is out of memory: profile 1 of the engine needs 1.5 MiB, and 1.2 MiB of 2.0 MiB "
        r"are free: end other programs on it, or load an engine with smaller profiles$"
    )
    with pytest.raises(EngineError, match=message):
        machine.open(workspace_bytes=12 * 2**10)


def test_where_room_ends_midway_all_is_given_back(machine: Machine) -> None:
    """Of two profiles the workspaces, the inputs and the outputs each find none."""
    engine = machine.open()
    enough, whole = machine.cuda.used_bytes, machine.cuda.most_allocations
    del engine
    ended_at = set()
    for room in range(0, enough + 64, 64):
        machine.cuda.memory_bytes, machine.cuda.most_allocations = room, 0
        with contextlib.suppress(EngineError):
            machine.open()
        assert not machine.cuda.allocations
        assert machine.cuda.last_error == host_cuda.SUCCESS
        ended_at.add(machine.cuda.most_allocations)
    # 3 pinned and 4 on the GPU, for each profile.
    assert whole == 14
    assert ended_at == {0, 3, 4, 6, 7, 10, 11, 13, 14}


def test_a_file_that_is_no_engine(machine: Machine) -> None:
    build = write_plan(machine.path, BUCKETS)
    machine.path.write_bytes(b"ftrt")
    message = (
        rf"^TensorRT {VERSION} could not load .*model.plan: deserializeCudaEngine: Error Code 1: "
        r"bad magic$"
    )
    with pytest.raises(EngineError, match=message):
        open_engine("tensorrt", machine.path, build=build)


@pytest.mark.parametrize(
    ("types", "message"),
    [
        (
            {"pixels": "HALF", "label": "FLOAT"},
            r"is not an engine of a text model \(its tensors are pixels HALF, label FLOAT\)",
        ),
        (
            {"input_ids": "INT64", "logits": "HALF"},
            r"returns HALF as logits, but float32 is expected: build it again",
        ),
    ],
)
def test_an_engine_of_other_tensors(machine: Machine, types: dict[str, str], message: str) -> None:
    with pytest.raises(EngineError, match=message):
        machine.open(types=types)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"tensorrt": "11.4.0.106"},
            rf"it was built with TensorRT 11.4.0.106, but this machine has {VERSION}; build it h",
        ),
        (
            {"gpu": "NVIDIA L4", "compute_capability": "8.9"},
            r"it was built for NVIDIA L4 \(compute capability 8.9\), but this machine has NVIDIA",
        ),
    ],
    ids=["version", "GPU"],
)
def test_an_engine_for_something_else(
    machine: Machine, changes: dict[str, Any], message: str
) -> None:
    build: EngineBuild = replace(write_plan(machine.path, BUCKETS), **changes)
    with pytest.raises(EngineError, match=rf"model.plan does not run here: {message}"):
        open_engine("tensorrt", machine.path, build=build)


def test_code_within_an_engine_runs_only_where_it_says_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtimes: list[Any] = []
    make: Callable[..., Any] = machine.trt.Runtime

    def remember(log: Any) -> Any:
        runtimes.append(make(log))
        return runtimes[-1]

    monkeypatch.setattr(machine.trt, "Runtime", remember)
    build = write_plan(machine.path, BUCKETS)
    open_engine("tensorrt", machine.path, build=build)
    open_engine("tensorrt", machine.path, build=replace(build, is_version_compatible=True))
    assert [runtime.engine_host_code_allowed for runtime in runtimes] == [False, True]


def test_an_engine_without_its_record(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"has no build record: build the engine again with 'lanner build-e"
    ):
        open_engine("tensorrt", tmp_path / "model.plan")
