import numpy as np
import pytest

from lanner_perf.gpu.models import MODELS, Shape, inputs_of


def test_the_work_of_a_run() -> None:
    # For each token and layer: 2 x (4 x 32 x 32 + 2 x 32 x 64) and 4 x 16 x 32.
    assert Shape(layers=2, hidden=32, heads=2, inner=64).flop(3, 16) == 2 * 48 * (16_384 + 2_048)
    # BERT-base has 85 million weights in its layers' products.
    base = MODELS["BERT-base"]
    assert base.flop(1, 1) == pytest.approx(2 * 84_934_656, rel=0.001)


def test_texts_are_the_same_for_all_and_a_mask_hides_something() -> None:
    first, again = inputs_of(4, 16), inputs_of(4, 16)
    for name in ("input_ids", "attention_mask"):
        np.testing.assert_array_equal(first[name], again[name])
        assert first[name].dtype == np.int64
    mask = np.ones((4, 16), np.int64)
    mask[3, 15] = 0
    np.testing.assert_array_equal(first["attention_mask"], mask)
    assert inputs_of(1, 16)["attention_mask"].all()
