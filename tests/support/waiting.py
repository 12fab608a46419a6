"""Waiting for what another thread or process is about to do."""

import time
from collections.abc import Callable


def wait_until(holds: Callable[[], bool], within_s: float = 30.0) -> None:
    """Look again and again whether a condition holds; fail if it does not in time."""
    deadline_s = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < deadline_s, "it never came about"
        time.sleep(0.01)
