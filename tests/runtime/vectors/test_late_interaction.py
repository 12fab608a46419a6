"""MaxSim by hand, and in blocks."""

import numpy as np
import pytest

from lanner.errors import InputError
from lanner.vectors import late_interaction
from lanner.vectors.late_interaction import TokenVectors, maxsim, maxsim_pairwise

QUERIES = [np.array([[1, 0], [0, 1]], np.float32), np.array([[0.6, 0.8]], np.float32)]
DOCUMENTS = [
    np.array([[1, 0], [0.6, 0.8], [0, -1]], np.float32),
    np.empty((0, 2), np.float32),
    np.array([[0, -1]], np.float32),
]


def test_the_best_of_each_token_are_added_up() -> None:
    # 1 and 0.8; none; 0 and -1. Then 0.36 + 0.64 = 1; none; -0.8.
    expected = [[1.8, 0, -1], [1, 0, -0.8]]
    np.testing.assert_allclose(maxsim(QUERIES, DOCUMENTS), expected, atol=1e-6)
    half = [[0.9, 0, -0.5], [1, 0, -0.8]]
    np.testing.assert_allclose(maxsim(QUERIES, DOCUMENTS, name="meanmaxsim"), half, atol=1e-6)
    np.testing.assert_allclose(maxsim_pairwise(QUERIES, DOCUMENTS[::2]), [1.8, -0.8], atol=1e-6)


def test_one_array_is_one_text_or_several_of_as_many_tokens() -> None:
    np.testing.assert_allclose(maxsim(QUERIES[0], DOCUMENTS[0]), [[1.8]], atol=1e-6)
    stacked = np.stack([DOCUMENTS[0], DOCUMENTS[0][::-1]])
    np.testing.assert_allclose(maxsim(QUERIES[0], stacked), [[1.8, 1.8]], atol=1e-6)
    assert maxsim([], DOCUMENTS).shape == (0, 3)
    assert maxsim(QUERIES, []).shape == (2, 0)
    assert maxsim([DOCUMENTS[1]], DOCUMENTS).tolist() == [[0, 0, 0]]


def test_documents_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(0)
    documents = [
        generator.normal(size=(count, 5)).astype(np.float32) for count in (3, 0, 9, 1, 4, 12, 2)
    ]
    expected = maxsim(documents, documents)
    for tokens in (1, 4, 13):
        monkeypatch.setattr(late_interaction, "_BLOCK_TOKENS", tokens)
        np.testing.assert_allclose(maxsim(documents, documents), expected, rtol=1e-6)
    by_hand = (documents[2] @ documents[4].T).max(axis=1).sum()
    assert expected[2, 4] == pytest.approx(by_hand, rel=1e-6)


def test_rows_of_texts() -> None:
    found = TokenVectors(DOCUMENTS, 2)
    assert len(found) == 3
    assert [len(row) for row in found] == [3, 0, 1]


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(InputError, match=r"^the vectors have 2 and 3 dimensions: encode both"):
        maxsim(QUERIES, [np.ones((2, 3), np.float32)])
    with pytest.raises(
        InputError,
        match=r"^b\[1\] must have the shape \[tokens, dimension\], not \[2\]: pass what encode_",
    ):
        maxsim(QUERIES, [DOCUMENTS[0], np.ones(2, np.float32)])
    with pytest.raises(InputError, match=r"^there is no similarity 'dot' of tokens: use maxsim or"):
        maxsim(QUERIES, DOCUMENTS, name="dot")
    with pytest.raises(InputError, match=r"^pairwise similarity needs as many vectors on both"):
        maxsim_pairwise(QUERIES, DOCUMENTS)
