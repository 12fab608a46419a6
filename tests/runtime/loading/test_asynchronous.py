import asyncio
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import lanner
from lanner.artifact.artifact import Artifact
from lanner.engines import Engine
from lanner.errors import DeadlineError, HeadError, Overloaded


class HeldEngine:
    """A real engine that answers when it is told to."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.name, self.run_tokens = engine.name, engine.run_tokens
        self.has_begun, self.may_go = threading.Event(), threading.Event()
        self.shapes: list[tuple[int, ...]] = []

    def run(
        self,
        inputs: Mapping[str, NDArray[np.int64]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        self.shapes.append(inputs["input_ids"].shape)
        self.has_begun.set()
        assert self.may_go.wait(timeout=20)
        return self._engine.run(inputs, is_alone=is_alone)


async def held(artifact: Path, max_waiting: int = 8) -> tuple[lanner.AsyncModel, HeldEngine]:
    model = await lanner.load_async(artifact, variant="fp32", threads=1, max_waiting=max_waiting)
    engine = HeldEngine(model.model.runner.engine)
    model.model.runner.engine = engine
    return model, engine


async def busy(model: lanner.AsyncModel, engine: HeldEngine) -> "asyncio.Task[NDArray[np.float32]]":
    """A call that runs until the engine is let go."""
    task = asyncio.create_task(model.encode("a c"))
    await asyncio.to_thread(engine.has_begun.wait, 20)
    return task


async def calls_waiting(model: lanner.AsyncModel, count: int) -> None:
    scheduler = model.model.runner.scheduler
    async with asyncio.timeout(20):
        while sum(not batch.call.is_dropped for batch in scheduler._small) < count:
            await asyncio.sleep(0.001)


def test_the_same_methods_awaited(word_artifact: Path) -> None:
    async def main() -> None:
        model = await lanner.load_async(word_artifact, variant="fp32")
        expected = lanner.load(word_artifact, variant="fp32")
        texts = ["a", "b"]
        np.testing.assert_array_equal(await model.encode(texts), expected.encode(texts))
        vectors = await model.encode(texts)
        np.testing.assert_allclose(await model.similarity(vectors, vectors), np.eye(2))
        untyped: Any = model
        assert untyped.get_embedding_dimension() == expected.get_embedding_dimension()
        assert repr(model) == f"AsyncModel({model.model!r})"
        with pytest.raises(HeadError, match=r"does not classify: call its encode$"):
            await model.classify("a man")

    asyncio.run(main())


def test_awaited_calls_run_together(word_artifact: Path) -> None:
    async def main() -> None:
        model, engine = await held(word_artifact)
        first = await busy(model, engine)
        others = [asyncio.create_task(model.encode(text)) for text in ("a c", "b b")]
        await calls_waiting(model, 2)
        engine.may_go.set()
        vectors = [await task for task in (first, *others)]
        assert engine.shapes == [(1, 2), (2, 2)]
        np.testing.assert_array_equal(vectors[0], vectors[1])

    asyncio.run(main())


def test_a_cancelled_task_leaves_the_queue(word_artifact: Path) -> None:
    async def main() -> None:
        model, engine = await held(word_artifact)
        first = await busy(model, engine)
        task = asyncio.create_task(model.encode("b"))
        await calls_waiting(model, 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        engine.may_go.set()
        await first
        await model.encode("a b c")
        assert engine.shapes == [(1, 2), (1, 3)]

    asyncio.run(main())


def test_deadlines_and_refusals(word_artifact: Path) -> None:
    async def main() -> None:
        model, engine = await held(word_artifact, max_waiting=1)
        first = await busy(model, engine)
        with pytest.raises(DeadlineError, match=r"^the deadline passed before the answer"):
            await model.encode("a man", timeout_ms=20)
        second = asyncio.create_task(model.encode("a c"))  # in the place of the one that gave up
        await calls_waiting(model, 1)
        with pytest.raises(Overloaded, match=r"^1 calls wait for this model already"):
            await model.encode("a c")
        engine.may_go.set()
        np.testing.assert_array_equal(await first, await second)

    asyncio.run(main())


def test_other_heads(classifier_artifact: Artifact) -> None:
    async def main() -> None:
        model = await lanner.load_async(classifier_artifact.directory, variant="fp32")
        expected = lanner.load(classifier_artifact.directory, variant="fp32")
        assert await model.classify("a man") == expected.classify("a man")

    asyncio.run(main())


def test_a_moment_without_threads_is_an_error_that_passes(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def start(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def main() -> None:
        model = lanner.AsyncModel(lanner.load(word_artifact, variant="fp32"))
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", start)
            message = r"^no thread is available for the call \(can't start new thread\): try"
            with pytest.raises(Overloaded, match=message):
                await model.encode("a")
        assert (await model.encode("a")).tolist() == [1, 0, 0, 0]

    asyncio.run(main())
