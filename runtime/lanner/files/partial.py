"""An output that is written over several runs, in a hidden directory beside it.

`body` holds what was written, and `state.json` how much of it counts. The body grows first and is
flushed to the disk; then the state is replaced by a rename. So at any moment the state tells of
bytes that are there, and what stands behind them in the body is cut off by the next run.
"""

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from lanner.errors import OutputError

#: How a user discards what an earlier run left.
RESTART = "--restart"


@dataclass(frozen=True)
class Written:
    """How far an output has come.

    Attributes:
        rows: Rows that were read, good or bad.
        vectors: Vectors that were written.
        bytes: How much of the body they take.
        digest: Of the input until there; see `lanner.files.rows.Rows.digest`.
        skipped: Bad rows that were passed over.
        bad_rows: What was wrong with the first of these.
        writer: What the writer remembers.
    """

    rows: int = 0
    vectors: int = 0
    bytes: int = 0
    digest: str = ""
    skipped: int = 0
    bad_rows: list[str] = field(default_factory=list)
    writer: Mapping[str, Any] = field(default_factory=dict)


class PartialFile:
    """The directory of one output; made by `partial_file`.

    Attributes:
        directory: Its place.
        body: The file that grows.
        written: What counts of it.
    """

    def __init__(self, output: Path) -> None:
        self.directory = directory_of(output)
        self.body = self.directory / "body"
        self.written = Written()
        self._state = self.directory / "state.json"
        self._identity: Mapping[str, Any] = {}

    @property
    def has_rows(self) -> bool:
        """Whether anything in it counts, of this run or of an earlier one."""
        return self._state.exists()

    def recall(self, identity: Mapping[str, Any], *, restart: bool) -> None:
        """Takes up what an earlier run left.

        Args:
            identity: What the bytes of the output depend on besides its input, as JSON.
            restart: Whether to discard what is there.

        Raises:
            OutputError: It is of another identity, or damaged.
        """
        self._identity = identity
        if restart or not self.body.exists():  # which has become the output, before a kill
            self._state.unlink(missing_ok=True)
        if not self._state.exists():
            return
        try:
            content = json.loads(self._state.read_bytes())
            earlier, written = dict(content["identity"]), Written(**content["written"])
        except (ValueError, KeyError, TypeError):
            earlier, written = None, Written()
        if earlier is None or self.body.stat().st_size < written.bytes:
            msg = f"{self.directory} is damaged: give {RESTART} to discard it"
            raise OutputError(msg)
        if earlier != json.loads(json.dumps(identity)):
            msg = (
                f"{self.directory} holds the first {written.rows:,} rows of a run with another "
                f"{_difference(earlier, identity)}: run it as before to go on, or give {RESTART} "
                "to discard them"
            )
            raise OutputError(msg)
        self.written = written

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """The body, cut to what counts, to write behind that; cut again where the disk is full."""
        try:
            with self.body.open("ab") as file:
                file.truncate(self.written.bytes)
                yield file
        except OSError:
            # Not after an interrupt, which may come when the state has just gone further.
            with suppress(OSError):
                os.truncate(self.body, self.written.bytes)
            raise

    def commit(self, body: BinaryIO, written: Written) -> None:
        """Makes what was written to the body count."""
        _flush(body)
        written = replace(written, bytes=os.fstat(body.fileno()).st_size)
        staged = self._state.with_suffix(".new")
        with staged.open("wb") as file:
            state = {"identity": self._identity, "written": asdict(written)}
            file.write(json.dumps(state).encode())
            _flush(file)
        staged.replace(self._state)
        self.written = written

    def remove(self) -> None:
        """Takes the directory away."""
        shutil.rmtree(self.directory, ignore_errors=True)


@contextmanager
def partial_file(output: Path) -> Iterator[PartialFile]:
    """The partial file of an output, for this process alone. One without a row goes again.

    Raises:
        OutputError: Another process writes the same output.
    """
    partial = PartialFile(output)
    partial.directory.mkdir(exist_ok=True)
    with (partial.directory / "lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill releases it
        except BlockingIOError:
            msg = f"another process writes {output}: wait for it, or give another output"
            raise OutputError(msg) from None
        try:
            yield partial
        finally:
            if not partial.has_rows:
                partial.remove()


def directory_of(output: Path) -> Path:
    """Where the partial file of an output is."""
    return output.with_name(f".{output.name}.partial")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    name = names[0]
    before, after = (str(found.get(name)) for found in (earlier, now))
    return f"{name} ({before}, now {after})"
