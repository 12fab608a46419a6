import numpy as np
import pytest

from lanner.artifact.activation import identity, sigmoid, softmax

LOG_2, LOG_3 = np.log([2, 3])


def test_softmax_by_hand() -> None:
    logits = np.array([[LOG_2, 0], [0, LOG_3]], np.float32)
    np.testing.assert_allclose(softmax(logits), [[2 / 3, 1 / 3], [1 / 4, 3 / 4]], rtol=1e-6)


def test_sigmoid_by_hand() -> None:
    logits = np.array([[0, LOG_3, -LOG_3]], np.float32)
    np.testing.assert_allclose(sigmoid(logits), [[1 / 2, 3 / 4, 1 / 4]], rtol=1e-6)


@pytest.mark.parametrize("activation", [sigmoid, softmax])
@pytest.mark.filterwarnings("error")
def test_large_logits_do_not_overflow(activation: object) -> None:
    logits = np.array([[1e4, -1e4]], np.float32)
    assert activation(logits).tolist() == [[1, 0]]  # type: ignore[operator]


@pytest.mark.parametrize("activation", [identity, sigmoid, softmax])
def test_single_precision_stays(activation: object) -> None:
    assert activation(np.zeros((1, 2), np.float32)).dtype == np.float32  # type: ignore[operator]
