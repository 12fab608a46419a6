from pathlib import Path

import pytest
from tests.support.word_artifact import write_manifest

from lanner.errors import (
    ArtifactError,
    EngineError,
    FormatVersionError,
    InputError,
    VariantError,
)
from lanner.loading.load import load
from lanner.machine.gpu import this_gpu


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
