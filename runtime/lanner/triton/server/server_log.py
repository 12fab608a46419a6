"""The log of a Triton server: readable lines, and the reason if the server ends."""

import json
import re
from collections import deque
from collections.abc import Callable
from pathlib import Path

from lanner.errors import LannerError, RepositoryError, ServerError, UsageError
from lanner.triton.contract.onnxruntime_versions import least_version

_RECORD = re.compile(r"([IWEFV])\d{4} (\d\d:\d\d:\d\d)\.\d+ +\d+ [\w.]+:\d+\] ?(.*)", re.DOTALL)
_LEVELS = {"I": "info", "W": "warn", "E": "error", "F": "fatal", "V": "debug"}
_FAILED_LOAD = re.compile(r"failed to load '(.+?)' version (\d+): (.*)", re.DOTALL)
_FAILED_POLL = re.compile(r"Poll failed for model directory '(.+?)': (.*)", re.DOTALL)
_SCHEMA = re.compile(r"\[libprotobuf ERROR .*Error parsing text-format [\w.]+: (.*)")
_LOADER = re.compile(r".*: (error while loading shared libraries: .*)")
#: After this message the Python backend of Triton 2.51 waits for its stub forever.
_STUCK = re.compile(r"Failed to preinitialize Python stub: (.*)", re.DOTALL)
#: Parts of ONNX Runtime's messages on a graph that is too new for it (1.22 and 1.23).
_OLD_ONNXRUNTIME = re.compile(
    r"ValidateOpsetForDomain|Unsupported model IR version|Could not find an implementation for"
)
#: The prefix of a model's own errors that the Python backend passes on.
_REFUSED = "Internal: TritonModelException: "
_USAGE = "Usage: tritonserver [options]"
#: Messages of a server on a machine without a GPU.
_NO_GPU = (
    "CudaDriverHelper has not been initialized.",
    "Unable to allocate pinned system memory",
    "failed to allocate pinned system memory",
    "CUDA memory pool disabled",
    "DCGM unable to start",
    "Error: Failed to initialize NVML",
)


class ServerLog:
    """The output of a server, line by line.

    Args:
        tell: Called with readable lines, until it fails.
        verbose: Pass every line to `tell`, exactly as the server wrote it.
    """

    def __init__(
        self, tell: Callable[[str], object] | None = None, *, verbose: bool = False
    ) -> None:
        self._tell = tell
        self._verbose = verbose
        self._hides_gpu = not Path("/dev/nvidiactl").exists()
        self._in_table = False
        self._usage: str | None = None  # the line before the usage: the error
        self._failures: dict[str, str] = {}
        self._schema: str | None = None
        self._error: str | None = None
        self._stuck: str | None = None
        self._lines: deque[str] = deque(maxlen=1000)

    @property
    def text(self) -> str:
        """Last thousand lines, exactly as the server wrote them."""
        return "\n".join(self._lines)

    def add(self, line: str) -> None:
        """Add the next line."""
        self._note(line)
        self._lines.append(line)
        self.tell(*([line] if self._verbose else self._readable(line)))

    def tell(self, *lines: str) -> None:
        """Pass lines on as they are, if anybody listens."""
        if self._tell is None:
            return
        try:
            for line in lines:
                self._tell(line)
        except (OSError, ValueError):  # the reader is gone; the server must not block
            self._tell = None

    def last(self) -> str:
        """Return the last meaningful line."""
        return next((line.strip() for line in reversed(self._lines) if line.strip()), "")

    def failure(self, ended: str, repository: Path) -> LannerError:
        """Return the error that says why a server ended before it was ready.

        Args:
            ended: The way it ended: its exit status, or that it was killed.
            repository: The repository.
        """
        if self._usage is not None:
            why = self._usage.rpartition("tritonserver: ")[2] or self.last()
            return UsageError(f"tritonserver refuses its options: {why.strip()}")
        if self._failures:
            which = "; ".join(f"{model}: {why}" for model, why in self._failures.items())
            return RepositoryError(
                f"tritonserver cannot load {which}; fix it in {repository}, or remove it there"
            )
        why = self._error or self.last() or "without a word"
        return ServerError(f"tritonserver {ended} before it was ready: {why}")

    def stuck(self, repository: Path) -> LannerError | None:
        """Return the error that says why a running server will never be ready, or None.

        Args:
            repository: The repository.
        """
        if self._stuck is None:
            return None
        msg = f"tritonserver waits forever for a model: {self._stuck}; fix it in {repository}"
        return RepositoryError(msg)

    def _note(self, line: str) -> None:
        """Keep a line that may explain why the server ends."""
        level, _, message = _parsed(line)
        if line.startswith(_USAGE):
            self._usage = self.last()
        elif found := _FAILED_LOAD.fullmatch(message):
            model, version, why = found.groups()
            self._failures[f"'{model}' version {version}"] = _sentence(why)
        elif found := _FAILED_POLL.fullmatch(message):
            model, why = found.groups()
            self._failures[f"'{model}'"] = _sentence(why) + (self._schema or "")
            self._schema = None
        elif found := _STUCK.fullmatch(message):
            self._stuck = _sentence(found[1])
        elif found := _SCHEMA.fullmatch(line):
            self._schema = f" ({found[1]})"
        elif found := _LOADER.fullmatch(line):
            self._error = found[1]
        elif line.startswith("error: "):
            # This line sums up earlier records; it is the reason only if there were none.
            self._error = self._error or line.removeprefix("error: ")
        elif level in ("error", "fatal") and not message.startswith(_NO_GPU):
            self._error = _sentence(message)

    def _readable(self, line: str) -> list[str]:
        level, time, message = _parsed(line)
        if self._usage is not None or (self._hides_gpu and message.startswith(_NO_GPU)):
            return []
        if level is None:
            if self._in_table and (not line or line[0] in "+|"):
                return []
            self._in_table = False
            return [line]
        self._in_table = not message  # an empty record precedes the tables at start-up
        first, *rest = message.rstrip().split("\n")
        return [f"{time} {level:5} {first}", *rest] if message else []


def _parsed(line: str) -> tuple[str | None, str, str]:
    """Return level, time and message of a record; for any other line only the message."""
    found = _RECORD.fullmatch(line)
    if not found:
        return None, "", line
    level, time, message = found.groups()
    message = message.strip()
    if message[:1] == message[-1:] == '"':
        try:
            message = str(json.loads(message))
        except ValueError:  # not valid JSON quoting
            message = message[1:-1]
    return _LEVELS[level], time, message


def _sentence(why: str) -> str:
    """Return a reason on one line, with the innermost place of a Python traceback."""
    if _OLD_ONNXRUNTIME.search(why):
        return (
            f"the ONNX Runtime of this Triton is too old for the graph: fp32 needs "
            f"{least_version('fp32')} or later, int8 {least_version('int8')}; or use the backend "
            "python"
        )
    what, _, trace = why.partition("\n\nAt:\n")
    if what.startswith(_REFUSED):  # Lanner's own error: the place in its code is no help
        what, trace = what.removeprefix(_REFUSED), ""
    place = trace.strip().split("\n")[0].strip()
    return " ".join(what.split()).rstrip(".;:") + (f" ({place})" if place else "")
