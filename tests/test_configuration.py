from pathlib import Path

import pytest

from lanner.artifact import Artifact
from lanner.configuration import Configuration
from lanner.errors import VariantError
from lanner.machine import this_machine

INT8 = Configuration("onnxruntime", "int8", workers=2, token_budget=1024)


def test_the_default_is_a_worker_a_core(word_artifact: Path) -> None:
    artifact = Artifact.open(word_artifact)
    fast = "int8" if this_machine().has_fast_int8 else "fp32"
    assert Configuration.default(artifact, threads=3) == Configuration("onnxruntime", fast, 3, 512)
    asked = Configuration.default(artifact, threads=1, variant="fp32", engine="abacus")
    assert asked == Configuration("abacus", "fp32", 1, 512)
    with pytest.raises(VariantError, match=r"holds no variant 'fp8', only fp32, int8"):
        Configuration.default(artifact, threads=1, variant="fp8")


@pytest.mark.parametrize(
    ("engine", "variant", "fits"),
    [
        ("auto", "auto", True),
        ("onnxruntime", "int8", True),
        ("onnxruntime", "auto", True),
        ("auto", "fp32", False),
        ("openvino", "int8", False),
    ],
)
def test_what_was_asked_for_fits_or_not(engine: str, variant: str, fits: bool) -> None:
    assert INT8.fits(engine=engine, variant=variant) == fits


def test_in_words() -> None:
    assert str(INT8) == "int8 in onnxruntime, 2 workers, 1,024 tokens a batch"
    one = Configuration("onnxruntime", "fp32", 1, 64)
    assert str(one) == "fp32 in onnxruntime, 1 worker, 64 tokens a batch"
