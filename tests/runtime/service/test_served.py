"""Models of the service, awaited."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from lanner.errors import DeadlineError
from lanner.loading.load import load
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel


@pytest.fixture
def served(word_artifact: Path) -> ServedModel:
    return ServedModel("words", load(word_artifact, threads=2), threads=ThreadPoolExecutor(2))


def test_rows_are_those_of_the_model(served: ServedModel) -> None:
    texts = ["a b", "", "c c", "d e f a b c"] * 40

    async def rows() -> tuple[object, list[int]]:
        tokens = await served.tokens(texts)
        return await served.rows(tokens), tokens.cut

    found, cut = asyncio.run(rows())
    np.testing.assert_array_equal(found, served.model.outputs(texts))
    assert cut == list(range(3, 160, 4))


def test_a_long_text_is_given_up_when_its_time_is_up(served: ServedModel) -> None:
    # One word of half a million letters is read to its end before its tokens are known.
    with pytest.raises(DeadlineError, match="the deadline passed while a long text was split"):
        asyncio.run(served.tokens(["a" * 500_000], deadline_s=time.monotonic()))
    later = time.monotonic() + 60
    assert asyncio.run(served.tokens(["a" * 500_000], deadline_s=later)).count == 1


def test_what_the_head_does_not_take_is_refused(served: ServedModel) -> None:
    with pytest.raises(Refusal, match="the model words takes texts, not pairs"):
        asyncio.run(served.tokens([("a", "b")]))
    with pytest.raises(Refusal, match="has the head embed, and this route needs score") as refused:
        served.require_head("score")
    assert refused.value.kind is Kind.WRONG_HEAD
    with pytest.raises(Refusal, match=r'no such prompt. Available prompts: \["query", "none"\]'):
        served.prompt("Zaphod")
