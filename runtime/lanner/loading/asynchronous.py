"""Asynchronous models: the methods of a model as coroutines."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial, wraps
from pathlib import Path
from typing import Any

from lanner.errors import Overloaded
from lanner.loading.load import load
from lanner.models.base import Model
from lanner.running.cancellation import Cancellation, current_cancellation


class AsyncModel:
    """A `Model` with coroutines for methods; other attributes are unchanged. See `load_async`.

    Calls that are awaited at the same time run together, like those of threads. A cancelled task
    removes its call from the queue. Each call waits in a thread of its own, so that the event loop
    does not tokenise long texts.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        runner = model.runner
        # One thread for each call that may run or wait, so that the model's own queue is the only
        # one, and a few more to refuse calls.
        self._threads = ThreadPoolExecutor(runner.workers + runner.max_waiting + 8, "lanner-async")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    def __getattr__(self, name: str) -> Any:
        value = getattr(self.model, name)
        if name in self.model.manifest.head_record.methods:
            return self._awaited(value)
        return value

    def _awaited(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(method)
        async def call(*arguments: Any, **options: Any) -> Any:
            cancellation, context = Cancellation(), copy_context()
            context.run(current_cancellation.set, cancellation)
            work = partial(context.run, method, *arguments, **options)
            try:
                running = self._threads.submit(work)
            except RuntimeError as error:  # the system's limit, or the interpreter is ending
                cancellation.cancel()  # nobody waits for the call
                msg = f"no thread is available for the call ({error}): try again later"
                raise Overloaded(msg) from None
            try:
                return await asyncio.wrap_future(running)
            except asyncio.CancelledError:
                cancellation.cancel()
                raise

        return call


async def load_async(path: str | Path, **options: Any) -> AsyncModel:
    """Load a model for asyncio: the arguments and errors of `lanner.load`, methods to await."""
    return AsyncModel(await asyncio.to_thread(load, path, **options))
