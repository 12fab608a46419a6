import numpy as np

from lanner.vectors.means import means_of


def test_the_mean_of_the_parts_of_each_text() -> None:
    vectors = np.array([[1, 0], [0, 3], [5, 5], [2, 2], [4, 0]], np.float32)
    found = means_of(vectors, np.array([2, 1, 2]))
    np.testing.assert_array_equal(found, [[0.5, 1.5], [5, 5], [3, 1]])
    assert found.dtype == np.float32


def test_the_mean_of_vectors_of_length_one_has_length_one() -> None:
    vectors = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    found = means_of(vectors, np.array([2, 1]))
    np.testing.assert_allclose(found, [[0.5**0.5, 0.5**0.5], [0.6, 0.8]], atol=1e-7)
    assert found[1].tobytes() == vectors[2].tobytes()


def test_no_text() -> None:
    assert means_of(np.empty((0, 3), np.float32), np.array([], np.int64)).shape == (0, 3)
