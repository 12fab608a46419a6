"""A model whose methods are awaited."""

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
    """The methods of a `Model`, awaited; its other attributes as they are. Made by `load_async`.

    Calls that are awaited at the same time run together, as those of threads do. A task that is
    cancelled takes its call out of the queue. Each call has a thread that waits for it, so that
    long texts are not split in the event loop's.

    Args:
        model: What answers.
    """

    def __init__(self, model: Model) -> None:
        self.model = model
        runner = model.runner
        # One a call that may run or wait, so that the model's own queue is the only one; beyond
        # that, a few to refuse calls.
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
            except RuntimeError as error:  # the limit of the system, or the interpreter ends
                cancellation.cancel()  # what was put there runs for nobody
                msg = f"no thread can wait for the call ({error}): try again later"
                raise Overloaded(msg) from None
            try:
                return await asyncio.wrap_future(running)
            except asyncio.CancelledError:
                cancellation.cancel()
                raise

        return call


async def load_async(path: str | Path, **options: Any) -> AsyncModel:
    """`lanner.load` for asyncio: the same arguments and errors, and methods that are awaited."""
    return AsyncModel(await asyncio.to_thread(load, path, **options))
