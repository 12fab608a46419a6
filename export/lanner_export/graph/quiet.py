"""Keeping the frameworks' own progress bars and warnings off the user's terminal."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences warnings, log records below ERROR and whatever is printed, within the block.

    An error that is raised passes through: only chatter is lost.
    """
    previous = logging.root.manager.disable
    handlers = logging.root.handlers[:]
    logging.disable(logging.WARNING)
    try:
        with (
            open(os.devnull, "w") as sink,  # noqa: PTH123 (a device, not a path of ours)
            warnings.catch_warnings(),
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(sink),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(previous)
        # ONNX Runtime's quantization calls logging.info(), which gives a root logger without a
        # handler one for today's stderr: our sink, closed by now. Every later record would fail.
        logging.root.handlers[:] = handlers
