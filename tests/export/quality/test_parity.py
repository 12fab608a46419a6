import math

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.errors import ParityError
from lanner.loading.load import load
from lanner.models.embedding import EmbeddingModel
from lanner_export import PRECISIONS
from lanner_export.quality.parity import LogitsParity, VectorParity, measure_parity, require_parity

GOOD = VectorParity(1.0, 1.0, 0.0, 1.0, 1.0, [("a text", 1.0)])


def with_changes(**changes: float) -> VectorParity:
    return VectorParity(**{**GOOD.to_json(), **changes})


def test_a_model_is_measured_against_its_reference(word_model: EmbeddingModel) -> None:
    reference = np.array([[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0, 0, 0, 0]], np.float32)
    reference[1, 2] = 0.75  # cosine of [0, 1] and [1, 0.75] is 1 / 1.25
    parity = measure_parity(list(reference), word_model, ["a b", "b", ""])
    assert isinstance(parity, VectorParity)
    assert parity.cosine_min == pytest.approx(0.8)
    assert parity.cosine_mean == pytest.approx((1 + 0.8 + 1) / 3)
    assert parity.largest_difference == pytest.approx(0.75)
    assert parity.batch_independence_cosine == pytest.approx(1)
    assert next(text for text, _ in parity.worst_texts) == "b"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_alike_passes(precision: str) -> None:
    require_parity(GOOD, precision, precision)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cosine_min": 0.99998}, r"the fp32 variant .*: smallest cosine 0.99998, allowed 0.99999"),
        ({"largest_difference": 2e-4}, r"largest difference 0.0002, allowed 0.0001; the worst tex"),
        ({"batch_independence_cosine": 0.991}, r"batch independence 0.991, allowed 0.9999"),
        ({"cosine_min": math.nan}, r"smallest cosine nan.* 'a text' .*Nothing was written"),
        ({"largest_difference": math.nan}, r"largest difference nan"),
        ({"batch_independence_cosine": math.nan}, r"batch independence nan"),
    ],
)
def test_what_differs_is_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ParityError, match=message):
        require_parity(with_changes(**changes), "fp32", "fp32")


def test_int8_may_round_but_not_depend_on_its_batch() -> None:
    rounded = with_changes(cosine_min=0.93, cosine_mean=0.985, largest_difference=0.1)
    require_parity(rounded, "int8", "int8")
    with pytest.raises(ParityError, match=r"the int8 variant .* batch independence 0.99, allowed"):
        require_parity(with_changes(batch_independence_cosine=0.99), "int8", "int8")


def test_half_precision_may_round_as_much_as_its_type_does() -> None:
    rounded = with_changes(cosine_min=0.995, cosine_mean=0.9995, largest_difference=0.1)
    require_parity(rounded, "bf16", "bf16")
    with pytest.raises(ParityError, match=r"the fp16 variant .* smallest cosine 0.995, allowed 0."):
        require_parity(rounded, "fp16", "fp16")


def test_a_text_without_a_number_is_the_worst(word_model: EmbeddingModel) -> None:
    reference = np.array([[0.5, 0.5, 0, 0], [0, math.nan, 0, 0], [0, 0, 0, 0]], np.float32)
    parity = measure_parity(list(reference), word_model, ["a b", "b", ""])
    assert isinstance(parity, VectorParity)
    assert parity.worst_texts[0][0] == "b"
    with pytest.raises(ParityError, match=r"'b' with cosine nan; fp16 overflows from 65504 on, so"):
        require_parity(parity, "fp16", "fp16")


LOGITS = LogitsParity(0.0, 1.0, 0.0, 1.0, 0.0, [("a text", 0.0)])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"largest_difference": 2e-4},
            r"the fp32 variant .*: largest difference 0.0002, al",
        ),
        ({"mean_score_difference": 2e-4}, r"mean score difference 0.0002, .* 'a text', its score"),
        ({"batch_independence_difference": 0.02}, r"batch independence 0.02, allowed 0.01"),
        ({"largest_difference": math.nan}, r"largest difference nan"),
    ],
)
def test_logits_that_differ_are_refused(changes: dict[str, float], message: str) -> None:
    require_parity(LOGITS, "fp32", "fp32")
    with pytest.raises(ParityError, match=message):
        require_parity(LogitsParity(**{**LOGITS.to_json(), **changes}), "fp32", "fp32")


def test_logits_are_measured_by_hand(scorer_artifact: Artifact) -> None:
    model = load(scorer_artifact.directory, variant="fp32")
    pairs = [("a man", "a guitar"), ("the train", "at seven")]
    reference = list(model.logits(pairs))
    reference[1] = reference[1] + np.float32(0.5)
    parity = measure_parity(reference, model, pairs)
    assert isinstance(parity, LogitsParity)
    assert parity.largest_difference == pytest.approx(0.5)
    off = abs(1 / (1 + np.exp(-reference[1][0])) - 1 / (1 + np.exp(0.5 - reference[1][0])))
    assert parity.mean_score_difference == pytest.approx(off / 2, rel=1e-4)
    assert parity.label_agreement is None
    assert parity.batch_independence_difference < 1e-6
    text, worst = parity.worst_texts[0]
    assert text == "the train | at seven"
    assert worst == pytest.approx(off, rel=1e-4)


def test_other_tokens_are_refused(tagger_artifact: Artifact) -> None:
    model = load(tagger_artifact.directory, variant="fp32")
    (windows,) = model.window_logits(["a man"])[1]
    with pytest.raises(ParityError, match=r"tokenizes 'a man' differently from its checkpoint: "):
        measure_parity([windows[0][:-1]], model, ["a man"])


def test_int8_that_differs_too_much_has_a_remedy() -> None:
    with pytest.raises(
        ParityError,
        match=r"mean cosine 0.5, allowed 0.97; .*; keep products in float32 with --budg",
    ):
        require_parity(with_changes(cosine_mean=0.5), "int8", "int8")
