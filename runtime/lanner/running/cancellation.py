"""Telling work that nobody waits for it any longer, from another thread."""

import threading
from collections.abc import Callable
from contextvars import ContextVar


class Cancellation:
    """A flag that is raised once, and who wants to know of it. Any thread may use it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_cancelled = False
        self._listeners: list[Callable[[], object]] = []

    def on_cancel(self, listener: Callable[[], object]) -> None:
        """Calls `listener` when `cancel` is called; at once if that has been."""
        with self._lock:
            if not self._is_cancelled:
                self._listeners.append(listener)
                return
        listener()

    def cancel(self) -> None:
        """Calls all listeners; from then on every new one at once."""
        with self._lock:
            self._is_cancelled = True
            listeners, self._listeners = self._listeners, []
        for listener in listeners:
            listener()


#: Who may cancel what is called in this context; nobody, as a rule.
current_cancellation: ContextVar[Cancellation | None] = ContextVar("cancellation", default=None)
