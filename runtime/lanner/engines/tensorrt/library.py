"""TensorRT's Python package, which comes with or without its libraries."""

import logging
from collections import deque
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from lanner.errors import EngineError, MissingExtraError

#: NVIDIA's modules: `tensorrt` is the bindings together with their libraries.
_MODULES = ("tensorrt", "tensorrt_bindings")
#: 10.13 is the first version with the names of 11.
_OLDEST = (10, 13)
#: The most warnings and errors that a log keeps.
_RECENT = 100

_log = logging.getLogger("lanner")


@cache
def tensorrt() -> ModuleType:
    """Import and return the package.

    Raises:
        MissingExtraError: The package is not installed.
        EngineError: The libraries are missing, or the package is too old.
    """
    for name in _MODULES:
        try:
            found = import_module(name)
        except ModuleNotFoundError as error:
            # An installed package with a missing dependency must not be skipped silently.
            if error.name in _MODULES:
                continue
            raise EngineError(_unusable(error)) from error
        except (ImportError, OSError) as error:
            raise EngineError(_unusable(error)) from error
        version = str(getattr(found, "__version__", "0"))
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            oldest = ".".join(map(str, _OLDEST))
            msg = (
                f"TensorRT {version} is too old for Lanner, which needs {oldest}: pip install "
                "--upgrade 'lanner[tensorrt]'"
            )
            raise EngineError(msg)
        return found
    what = "the tensorrt engine"
    raise MissingExtraError(what, "tensorrt", "tensorrt")


def tensorrt_version() -> str:
    """Return the version of the imported package.

    Raises:
        LannerError: See `tensorrt`.
    """
    return str(tensorrt().__version__)


def _unusable(error: Exception) -> str:
    return (
        f"TensorRT's Python package is installed, but its libraries cannot be loaded ({error}): "
        "pip install 'lanner[tensorrt]', or add the directory of libnvinfer to LD_LIBRARY_PATH"
    )


def open_log() -> Any:
    """Return the logger for TensorRT, with earlier messages forgotten.

    There is one logger per process: TensorRT keeps one for all its objects, so all must be given
    the same, and it must outlive them ("Thread Safety" in NVIDIA's guide). Warnings and errors go
    to Python's logger ``lanner`` at the level DEBUG: problems that concern the user are raised.
    """
    log = only_log()
    log.forget()
    return log


@cache
def only_log() -> Any:
    """Return the one logger of `open_log`."""
    trt = tensorrt()
    kept = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)

    class Log(trt.ILogger):  # type: ignore[name-defined,misc]
        """The logger of `open_log`."""

        def forget(self) -> None:
            """Forget earlier messages, so that one engine's refusal is not reported for another."""
            self.last_error = ""
            #: The last warnings and errors, the newest at the end.
            self.recent: deque[str] = deque(maxlen=_RECENT)

        def log(self, severity: Any, message: str) -> None:
            """Record a message; TensorRT calls this from any thread."""
            if severity in kept:
                self.last_error = message
            if severity in (*kept, trt.ILogger.WARNING):
                self.recent.append(message)
                _log.debug("TensorRT: %s", message)

    return Log()
