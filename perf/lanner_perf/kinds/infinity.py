"""infinity, whose engine forms batches from concurrent callers."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lanner_perf.loading.limits import bound_sessions
from lanner_perf.loading.loaded import Loaded, Start, size_of
from lanner_perf.loading.plain import Embedding

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

Answer = TypeVar("Answer")


def load_infinity(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load its `AsyncEmbeddingEngine`.

    `options` names the ``engine``: torch with a ``dtype`` and a checkpoint, or optimum with a plain
    folder that has one ONNX ``file`` of a ``precision``.
    """
    start = Start(options, threads)
    bound_sessions(threads)
    import numpy as np  # noqa: PLC0415
    import torch  # noqa: PLC0415
    from infinity_emb import AsyncEmbeddingEngine, EngineArgs  # noqa: PLC0415

    start.imported()
    torch.set_num_threads(threads)
    is_torch = options["engine"] == "torch"
    if is_torch:
        settings = {"dtype": options["dtype"]}
    else:
        settings = {"pooling_method": Embedding.read(Path(path)).pooling}
        # infinity passes the file's path to optimum, which expects a bare name. Inside the folder
        # the two are the same.
        os.chdir(path)
    engine = AsyncEmbeddingEngine.from_args(
        EngineArgs(
            model_name_or_path=path if is_torch else ".",
            engine=options["engine"],
            device="cpu",
            model_warmup=False,
            bettertransformer=False,  # optimum no longer has it
            onnx_disable_optimize=True,  # the file is optimized already
            **settings,
        )
    )
    service = _Service(engine)
    start.loaded()
    files = Path(path).rglob("*.safetensors" if is_torch else options["file"])
    facts = {
        "engine": "torch" if is_torch else "onnxruntime",
        "precision": options["dtype" if is_torch else "precision"],
        "model_bytes": size_of(*files),
    }

    def encode(texts: str | list[str], batch_size: int | None = None) -> Vectors:
        if batch_size is not None:
            service.set_batch_size(batch_size)
        vectors, _ = service.run(engine.embed([texts] if isinstance(texts, str) else texts))
        return vectors[0] if isinstance(texts, str) else np.stack(vectors)

    return start.done(encode, facts, service.answer_many)


class _Service:
    """The engine on an event loop in a thread of its own, which ends with the process."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        self.run(engine.astart())

    def run(self, coroutine: Coroutine[Any, Any, Answer]) -> Answer:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    def set_batch_size(self, texts: int) -> None:
        """Set the most texts of a batch; the handler reads the value again for each batch."""
        self._engine._batch_handler.max_batch_size = texts

    def answer_many(self, texts: list[str], callers: int) -> list[float]:
        """See `Loaded`; each caller is a task that sends its next text when it has an answer."""
        return self.run(answer_concurrently(self._engine.embed, texts, callers))


async def answer_concurrently(embed: Any, texts: list[str], callers: int) -> list[float]:
    """Share the texts among this many tasks; return the milliseconds of each call."""
    latencies_ms = [0.0] * len(texts)
    waiting = iter(enumerate(texts))

    async def call() -> None:
        for index, text in waiting:
            begin = time.perf_counter()
            await embed([text])
            latencies_ms[index] = 1e3 * (time.perf_counter() - begin)

    await asyncio.gather(*(call() for _ in range(callers)))
    return latencies_ms
