import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner.engines import registry
from lanner.errors import (
    ArtifactError,
    EngineError,
    FormatVersionError,
    InputError,
    VariantError,
)
from lanner.loading.load import load
from lanner.machine.gpu import this_gpu

#: The environment variables that keep the `tokenizers` library from making its pool, or bound it.
POOL_VARIABLES = ("TOKENIZERS_PARALLELISM", "RAYON_NUM_THREADS", "RAYON_RS_NUM_CPUS")


@pytest.mark.parametrize("name", ["threads", "workers", "token_budget", "max_waiting"])
def test_numbers_below_one_are_refused(word_artifact: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"{name} must be at least 1, not 0"):
        load(word_artifact, **{name: 0})  # type: ignore[call-overload]


def test_more_workers_than_threads_are_refused(word_artifact: Path) -> None:
    with pytest.raises(InputError, match=r"^workers must be at most threads, not 3 for 2 threads$"):
        load(word_artifact, threads=2, workers=3)


def test_an_unknown_variant_or_engine_is_refused(word_artifact: Path) -> None:
    with pytest.raises(VariantError, match=r"holds no variant 'fp4', only fp32, int8"):
        load(word_artifact, variant="fp4")
    message = r"or build one on its GPU with 'lanner build-engine --precision fp8'$"
    with pytest.raises(VariantError, match=message):
        load(word_artifact, variant="fp8")
    with pytest.raises(
        VariantError, match=r"^there is no engine 'abacus': use .*, tensorrt or 'auto'$"
    ):
        load(word_artifact, engine="abacus")


def test_an_unknown_head_is_named(word_artifact: Path) -> None:
    write_manifest(word_artifact, head="summarize", labels=list("abcd"))
    with pytest.raises(FormatVersionError, match=r"has the head 'summarize', but this Lanner"):
        load(word_artifact)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"gone is not a directory: pass one that 'lanner exp"):
        load(tmp_path / "gone")


@pytest.mark.parametrize("asked", [{"engine": "openvino"}, {"device": "cpu"}], ids=str)
def test_an_engine_cache_is_for_a_gpu(word_artifact: Path, asked: dict[str, str]) -> None:
    with pytest.raises(InputError, match=r"^engine_cache is for onnxruntime on cuda: omit it, or "):
        load(word_artifact, engine_cache="cache", **asked)  # type: ignore[call-overload]


@pytest.mark.skipif(this_gpu() is not None, reason="needs a machine without a GPU")
@pytest.mark.parametrize("asked", [{"device": "cuda"}, {"engine_cache": "cache"}], ids=str)
def test_a_gpu_that_is_not_there_is_an_error(word_artifact: Path, asked: dict[str, str]) -> None:
    with pytest.raises(EngineError, match=r"^onnxruntime on cuda needs an NVIDIA GPU, but this m"):
        load(word_artifact, **asked)  # type: ignore[call-overload]


def test_the_address_of_a_server_is_named() -> None:
    with pytest.raises(
        InputError,
        match=r"^grpc://localhost:8001 is the address of a server, not a directory: lanner\.conn",
    ):
        load("grpc://localhost:8001")


FASTEST = "the fastest variant, the same on every processor"


NOT_NATIVE = "not in native, since lanner-native is not installed"
BY_ENGINE, BY_VARIANT = "engine='onnxruntime' was asked for", "variant='fp32' was asked for"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({}, f"int8 in onnxruntime on cpu: {FASTEST}; {NOT_NATIVE}"),
        ({"variant": "fp32"}, f"fp32 in onnxruntime on cpu: {BY_VARIANT}"),
        ({"engine": "onnxruntime"}, f"int8 in onnxruntime on cpu: {BY_ENGINE}; {FASTEST}"),
        (
            {"engine": "onnxruntime", "variant": "fp32"},
            f"fp32 in onnxruntime on cpu: {BY_VARIANT}; {BY_ENGINE}",
        ),
    ],
    ids=str,
)
def test_the_variant_the_engine_and_their_reasons_are_said_once(
    asked: dict[str, str],
    said: str,
    word_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(registry, "has_module", lambda name: name == "onnxruntime")
    with caplog.at_level("INFO", "lanner"):
        load(word_artifact, device="cpu", **asked)  # type: ignore[call-overload]
    (record,) = caplog.records
    assert record.getMessage() == f"{word_artifact} runs as {said}"


def test_int8_that_depends_on_the_batch_is_left_out_and_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_word_artifact(tmp_path / "moody", batch_independence=0.99)
    with caplog.at_level("INFO", "lanner"):
        load(path, engine="onnxruntime", device="cpu")
    said = caplog.records[0].getMessage()
    assert said.endswith("was asked for; the answers of int8 depend on the batch")


FORK = """
import os, signal, sys, lanner, lanner.errors
path, engine, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
model = lanner.load(path, engine=engine, variant="fp32", threads=threads)
texts = ["a", "b b", "c c c", "d"] * 50
expected = model.encode(texts, batch_size=4)
child = os.fork()
if child == 0:
    signal.alarm(20)
    try:
        assert (model.encode(texts, batch_size=4) == expected).all()
    except lanner.errors.EngineError as error:
        print(error)
    sys.exit(7)  # the end of an interpreter also ends engines
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.parametrize("parallelism", [None, "true", "false"])
@pytest.mark.parametrize(
    ("engine", "threads"), [("onnxruntime", 1), ("onnxruntime", 2), ("openvino", 2)]
)
def test_a_forked_child_works_or_says_at_once_what_to_do(
    engine: str,
    threads: int,
    parallelism: str | None,
    word_artifact: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip(engine)
    monkeypatch.delenv("TOKENIZERS_PARALLELISM", raising=False)
    if parallelism is not None:
        monkeypatch.setenv("TOKENIZERS_PARALLELISM", parallelism)
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(word_artifact), engine, str(threads)],
        timeout=60,
        check=False,
        capture_output=True,
        text=True,
    )
    refusal = (
        "OpenVINO does not work in a forked process: load the model in the process that uses it\n"
    )
    assert (done.returncode, done.stdout) == (7, refusal if engine == "openvino" else ""), done


def test_one_thread_splits_texts_on_one_core(word_artifact: Path) -> None:
    code = """
import os, sys, lanner
model = lanner.load(sys.argv[1], variant="fp32", threads=int(sys.argv[2]))
print(model.encode(["a", "b b", "c c c", "d"] * 50).sum(axis=0).tolist())
names = [open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")]
print(len(names))
"""

    def threads_of(threads: int) -> int:
        environment = {k: v for k, v in os.environ.items() if k not in POOL_VARIABLES}
        environment |= {"RAYON_NUM_THREADS": "5", "OPENBLAS_NUM_THREADS": "1"}
        command = [sys.executable, "-c", code, str(word_artifact), str(threads)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
        vectors, count = done.stdout.splitlines()
        assert vectors == "[50.0, 50.0, 50.0, 50.0]"
        return int(count)

    assert threads_of(2) >= 1 + 5
    assert threads_of(1) <= 2  # its own thread, and perhaps one that runs batches
