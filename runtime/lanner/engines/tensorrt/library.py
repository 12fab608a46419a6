"""TensorRT's Python package, which comes without its libraries or with them."""

import logging
from collections import deque
from functools import cache
from importlib import import_module
from types import ModuleType
from typing import Any

from lanner.errors import EngineError, MissingExtraError

#: NVIDIA's packages and what they are of: `tensorrt` is the bindings with their libraries beside.
_MODULES = ("tensorrt", "tensorrt_bindings")
#: 10.13 is the first whose names are those of 11.
_OLDEST = (10, 13)
#: Of the warnings and errors of a log, as many are kept.
_RECENT = 100

_log = logging.getLogger("lanner")


@cache
def tensorrt() -> ModuleType:
    """The package, imported.

    Raises:
        MissingExtraError: It is not installed.
        EngineError: Its libraries are not, or it is too old.
    """
    for name in _MODULES:
        try:
            found = import_module(name)
        except ModuleNotFoundError as error:
            # A package that is there and lacks one of its own needs is not to be passed over.
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
    """The version of the package that is imported.

    Raises:
        LannerError: As `tensorrt` says.
    """
    return str(tensorrt().__version__)


def _unusable(error: Exception) -> str:
    return (
        f"TensorRT's Python package is installed, and its libraries cannot be loaded ({error}): "
        "pip install 'lanner[tensorrt]', or add the directory of libnvinfer to LD_LIBRARY_PATH"
    )


def open_log() -> Any:
    """The logger that TensorRT is given, which remembers what it said since it was asked for.

    There is one for a process: TensorRT holds one for all that it makes, so all must be given the
    same, and it must outlive them ("Thread Safety" in NVIDIA's guide). Warnings and errors go to
    Python's logger ``lanner``, at the level DEBUG: what concerns the user is raised.
    """
    log = only_log()
    log.forget()
    return log


@cache
def only_log() -> Any:
    """The one of `open_log`."""
    trt = tensorrt()
    kept = (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR)

    class Log(trt.ILogger):  # type: ignore[name-defined,misc]
        """See `open_log`."""

        def forget(self) -> None:
            """Forget earlier messages, so that one engine's refusal is not reported for another."""
            self.last_error = ""
            #: The last warnings and errors, the newest at the end.
            self.recent: deque[str] = deque(maxlen=_RECENT)

        def log(self, severity: Any, message: str) -> None:
            """Called by TensorRT, from any thread."""
            if severity in kept:
                self.last_error = message
            if severity in (*kept, trt.ILogger.WARNING):
                self.recent.append(message)
                _log.debug("TensorRT: %s", message)

    return Log()
