"""Silencing the progress bars and warnings of frameworks."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, log records below ERROR and all printed output, within the block.

    Exceptions pass through.
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
        # ONNX Runtime's quantization calls logging.info(), which adds a handler to a root logger
        # without one, for the current stderr: our sink, now closed. Later records would fail.
        logging.root.handlers[:] = handlers
