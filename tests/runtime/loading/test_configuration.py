from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import VariantError
from lanner.loading import selection
from lanner.loading.configuration import Configuration

INT8 = Configuration("onnxruntime", "int8", workers=2, token_budget=1024)


def test_the_default_is_a_worker_a_core(word_artifact: Path) -> None:
    artifact = Artifact.open(word_artifact)
    default = Configuration.default(artifact, threads=3)
    assert default == Configuration("onnxruntime", "int8", 3, 512)
    asked = Configuration.default(artifact, threads=1, variant="fp32", engine="abacus")
    assert asked == Configuration("abacus", "fp32", 1, 512)
    with pytest.raises(VariantError, match=r"holds no variant 'fp8', only fp32, int8"):
        Configuration.default(artifact, threads=1, variant="fp8")


@pytest.mark.parametrize(
    ("engine", "variant", "device", "fits"),
    [
        ("auto", "auto", "auto", True),
        ("onnxruntime", "int8", "cpu", True),
        ("onnxruntime", "auto", "auto", True),
        ("auto", "fp32", "auto", False),
        ("openvino", "int8", "auto", False),
        ("auto", "auto", "cuda", False),
    ],
)
def test_what_was_asked_for_fits_or_not(engine: str, variant: str, device: str, fits: bool) -> None:
    assert INT8.fits(engine=engine, variant=variant, device=device) == fits


def test_a_gpu_takes_large_batches_two_at_a_time(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    artifact = Artifact.open(word_artifact)
    monkeypatch.setattr(selection, "require_gpu", lambda _: None)
    for threads, workers in ((1, 1), (8, 2)):
        found = Configuration.default(artifact, threads=threads, device="cuda")
        assert found == Configuration("onnxruntime", "fp32", workers, 16_384, "cuda")


def test_in_words() -> None:
    assert str(INT8) == "int8 in onnxruntime, 2 workers, 1,024 tokens a batch"
    one = Configuration("onnxruntime", "fp32", 1, 64)
    assert str(one) == "fp32 in onnxruntime, 1 worker, 64 tokens a batch"
    on_gpu = Configuration("onnxruntime", "fp16", 2, 16_384, "cuda")
    assert str(on_gpu) == "fp16 in onnxruntime on cuda, 2 workers, 16,384 tokens a batch"
    plan = Configuration("tensorrt", "fp16", 2, 16_384, "cuda")
    assert str(plan) == "fp16 in tensorrt, 2 workers, 16,384 tokens a batch"
