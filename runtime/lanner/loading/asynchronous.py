"""Asynchronous models: the methods of a model as coroutines."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Self, Unpack, cast

from lanner.errors import Overloaded
from lanner.loading.load import LoadOptions, load
from lanner.models.base import Model
from lanner.models.heads import Answer, AnyModel, Arguments, AwaitedMethods
from lanner.running.cancellation import Cancellation, current_cancellation


class AsyncModel(AwaitedMethods):
    """A `Model` with coroutines for methods; other attributes are unchanged. See `load_async`.

    Calls that are awaited at the same time run together, like those of threads. A cancelled task
    removes its call from the queue. Each call waits in a thread of its own, so that the event loop
    does not tokenise long texts.

    Args:
        model: The model.
    """

    def __init__(self, model: Model) -> None:
        self.model = cast("AnyModel", model)
        runner = model.runner
        # One thread for each call that may run or wait, so that the model's own queue is the only
        # one, and a few more to refuse calls.
        self._threads = ThreadPoolExecutor(runner.workers + runner.max_waiting + 8, "lanner-async")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """See `Model.close`."""
        self.model.close()

    def __reduce__(self) -> tuple[type[Self], tuple[Model]]:
        return type(self), (self.model,)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r})"

    if not TYPE_CHECKING:  # which sees the other attributes in `model`

        def __getattr__(self, name: str) -> object:
            return getattr(self.model, name)

    async def answered(
        self,
        method: Callable[Arguments, Answer],
        *arguments: Arguments.args,
        **options: Arguments.kwargs,
    ) -> Answer:
        """Return the answer of a method of the model, once its thread is done."""
        cancellation, context = Cancellation(), copy_context()
        context.run(current_cancellation.set, cancellation)
        work: Callable[[], Answer] = partial(context.run, method, *arguments, **options)
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


async def load_async(
    path: str | Path, *, head: type[Model] | None = None, **options: Unpack[LoadOptions]
) -> AsyncModel:
    """Load a model for asyncio: the arguments and errors of `lanner.load`, methods to await."""
    return AsyncModel(await asyncio.to_thread(partial(load, path, head=head, **options)))
