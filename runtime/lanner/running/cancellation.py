"""Cancellation of work from another thread."""

import threading
from collections.abc import Callable
from contextvars import ContextVar


class Cancellation:
    """A one-shot cancellation flag with callbacks. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._listeners: list[Callable[[], object]] = []

    def on_cancel(self, listener: Callable[[], object]) -> None:
        """Call `listener` when `cancel` is called, or at once if it has been called already."""
        with self._lock:
            if not self._is_cancelled:
                self._listeners.append(listener)
                return
        listener()

    def cancel(self) -> None:
        """Call all listeners; later listeners are called at once."""
        with self._lock:
            self._is_cancelled = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()


#: The cancellation of the calls in this context; usually None.
current_cancellation: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
