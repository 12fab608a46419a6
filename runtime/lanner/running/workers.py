"""Threads that run work in the background, each kept for the next task.

Unlike the threads of a `ThreadPoolExecutor`, they continue after the main thread has ended, as
other threads of a program may. If no thread can be started, they do not keep the work: its caller
does it.
"""

import atexit
import os
import threading
import time
import weakref
from collections.abc import Callable
from queue import SimpleQueue

#: The longest wait of the ending process for a running batch, whose caller is gone by then.
_LAST_WORK_S = 10.0


class _Threads:
    """The state that the threads share; it holds no `Workers`, so that those can be collected."""

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self.lock = threading.Lock()
        self.count = self.idle = 0
        self.pid = os.getpid()  # a fork has none of the threads

    def serve(self) -> None:
        """Run what is put into `tasks`, until that is None."""
        while (task := self.tasks.get()) is not None:
            try:
                task()
            finally:
                del task  # an idle thread holds no references
                with self.lock:
                    self.idle += 1

    def end(self) -> None:
        """Make the threads end after their current work."""
        for _ in range(self.count):
            self.tasks.put(None)


class Workers:
    """Background threads, started when they are needed. Any thread may call it.

    Args:
        most: The most threads.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._threads = _Threads()
        weakref.finalize(self, self._threads.end).atexit = False
        _LIVE.add(self._threads)

    def submit(self, work: Callable[[], None]) -> bool:
        """Let a thread run a function that raises nothing.

        Returns:
            False if no thread exists and none can be started; then nothing was done.
        """
        threads = self._threads
        with threads.lock:
            if threads.idle:
                threads.idle -= 1
            elif threads.count < self._most:
                try:
                    threading.Thread(target=threads.serve, name="lanner", daemon=True).start()
                except RuntimeError:  # the limit of the system, or the interpreter ends
                    return False
                threads.count += 1
            # Otherwise one of them is about to be idle, and takes it.
            else:
                threads.idle -= 1
        threads.tasks.put(work)
        return True


#: Daemon threads that run native code while the process is taken down would crash it.
_LIVE: "weakref.WeakSet[_Threads]" = weakref.WeakSet()


@atexit.register
def _wait_for_the_last() -> None:
    end = time.monotonic() + _LAST_WORK_S
    for threads in list(_LIVE):
        is_own = threads.pid == os.getpid()
        while is_own and threads.idle < threads.count and time.monotonic() < end:
            time.sleep(0.001)
