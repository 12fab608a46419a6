"""A partial output, written by several runs in a hidden directory next to the output.

`body` holds the data, and `state.json` the number of valid bytes. The body grows first and is
flushed to the disk; then a rename replaces the state. So at any moment the bytes that the state
counts exist, and the next run cuts off any bytes behind them.

Somebody else may have made the directory, so it is used only if this user owns it and it holds only
regular files of this user; no link is followed, and no other user may enter it.
"""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from lanner.artifact import fields
from lanner.artifact.bounded import parse_json
from lanner.errors import OutputError

#: The option that discards the results of an earlier run.
RESTART = "--restart"

_LOCK, _BODY, _STATE, _NEW_STATE = "lock", "body", "state.json", "state.new"
#: All files of such a directory; writers turn the body into "whole".
_FILES = (_STATE, _NEW_STATE, _BODY, "whole")
_FOREIGN = "{} is {}: inspect and remove it, or choose another output"
_PIECE_BYTES = 2**20
#: Many times what a state holds: settings, a few messages, and the kinds of kept columns.
_MOST_STATE_BYTES = 2**24
_SHOWN_CHARACTERS = 100
#: The most times that a directory may vanish while it is opened.
_TRIES = 100


@dataclass(frozen=True)
class Written:
    """The state of a partial output.

    Attributes:
        rows: The number of rows that were read, good or bad.
        vectors: The number of vectors that were written.
        bytes: The number of valid bytes of the body.
        unchecked_bytes: The number of those, at the start, that the writer rewrites at the end.
        sha256: The SHA-256 of the others.
        digest: The digest of the input so far; see `lanner.files.rows.Rows.digest`.
        skipped: The number of skipped bad rows.
        bad_rows: The messages of the first of these.
        cut: The number of texts that were cut to the model's limit.
        writer: The state of the writer.
    """

    rows: int = 0
    vectors: int = 0
    bytes: int = 0
    unchecked_bytes: int = 0
    sha256: str = ""
    digest: str = ""
    skipped: int = 0
    bad_rows: list[str] = field(default_factory=list)
    cut: int = 0
    writer: dict[str, Any] = field(default_factory=dict)

    @property
    def is_consistent(self) -> bool:
        """True if its fields are those that a run writes."""
        if fields.mistyped(self):
            return False
        return (
            0 <= self.unchecked_bytes <= self.bytes
            and min(self.vectors, self.skipped) >= 0
            and self.vectors + self.skipped <= self.rows
            and 0 <= self.cut <= self.vectors
            and bool(self.bad_rows) is bool(self.skipped)
            and (self.rows > 0 or self.bytes == 0)
        )


class PartialFile:
    """The partial directory of one output; `partial_file` makes it.

    Args:
        directory: The path.
        handle: The open directory.

    Attributes:
        directory: The path.
        body: The file that grows.
        written: The valid part of the body.
    """

    def __init__(self, directory: Path, handle: int) -> None:
        self.directory = directory
        self.body = self.directory / "body"
        self.written = Written()
        self._handle = handle
        self._identity: Mapping[str, Any] = {}
        self._sum = hashlib.sha256()
        self._summed_bytes = 0

    @property
    def has_rows(self) -> bool:
        """True if it holds rows of this run or an earlier one."""
        return self._has(_STATE)

    def recall(self, identity: Mapping[str, Any], *, restart: bool) -> None:
        """Restore the state of an earlier run.

        Args:
            identity: The settings that the output depends on besides its input, as JSON.
            restart: Discard the results of an earlier run.

        Raises:
            OutputError: The earlier run has another identity, or its state is damaged.
        """
        self._identity = identity
        # A state without a body is left over from a kill after the body became the output.
        if restart or not self._has(_BODY):
            self._unlink(_STATE)
        if not self._has(_STATE):
            return
        try:
            with self._open(_STATE, "rb") as file:
                content = parse_json(file.read(_MOST_STATE_BYTES))
            earlier, written = dict(content["identity"]), Written(**content["written"])
        except (ValueError, KeyError, TypeError):
            self.refuse()
        if not written.is_consistent or not self._is_whole(written):
            self.refuse()
        if earlier != json.loads(json.dumps(identity)):
            msg = (
                f"{self.directory} holds the first {written.rows:,} rows of a run with another "
                f"{_difference(earlier, identity)}: use the earlier options to continue, or "
                f"{RESTART} to discard them"
            )
            raise OutputError(msg)
        self.written = written

    def refuse(self) -> NoReturn:
        """Refuse what an earlier run left.

        Raises:
            OutputError: Always.
        """
        msg = f"{self.directory} is damaged: use {RESTART} to discard it"
        raise OutputError(msg)

    @contextmanager
    def opened(self) -> Iterator[BinaryIO]:
        """Open the body, cut to its valid part, for appending; cut it again if the disk is full."""
        try:
            with self._open(_BODY, "a+b") as file:
                file.truncate(self.written.bytes)
                yield file
        except OSError:
            # Not after an interrupt, which may come just after the state was replaced.
            with suppress(OSError), self._open(_BODY, "r+b") as file:
                file.truncate(self.written.bytes)
            raise

    def leave_unchecked(self, body: BinaryIO) -> None:
        """Mark the current content of the body as rewritten at the end."""
        body.flush()
        start = os.fstat(body.fileno()).st_size
        self.written = replace(self.written, unchecked_bytes=start)
        self._summed_bytes = start

    def commit(self, body: BinaryIO, written: Written) -> None:
        """Commit the rows written to the body."""
        _flush(body)
        end = os.fstat(body.fileno()).st_size
        self._add_up(body.fileno(), end)
        written = replace(written, bytes=end, sha256=self._sum.hexdigest())
        with self._open(_NEW_STATE, "wb") as file:
            state = {"identity": self._identity, "written": asdict(written)}
            file.write(json.dumps(state).encode())
            _flush(file)
        os.replace(_NEW_STATE, _STATE, src_dir_fd=self._handle, dst_dir_fd=self._handle)
        self.written = written

    def remove(self) -> None:
        """Remove the directory; foreign files stay, and then the directory, too."""
        with suppress(OSError):
            for name in (*_FILES, _LOCK):  # the lock last, so that no other run starts before
                self._unlink(name)
            self.directory.rmdir()

    def _is_whole(self, written: Written) -> bool:
        with self._open(_BODY, "rb") as body:
            if os.fstat(body.fileno()).st_size < written.bytes:
                return False
            self._summed_bytes = written.unchecked_bytes
            self._add_up(body.fileno(), written.bytes)
        return self._sum.hexdigest() == written.sha256

    def _add_up(self, file: int, end: int) -> None:
        """Extend the checksum to an offset in the body."""
        while self._summed_bytes < end:
            piece = os.pread(file, min(_PIECE_BYTES, end - self._summed_bytes), self._summed_bytes)
            if not piece:
                msg = "the body ends too early"
                raise OSError(msg)
            self._sum.update(piece)
            self._summed_bytes += len(piece)

    def _open(self, name: str, mode: str) -> BinaryIO:
        return open(  # type: ignore[return-value]
            name, mode, opener=lambda path, flags: _open_at(self._handle, path, flags)
        )

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._handle, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def _unlink(self, name: str) -> None:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self._handle)


@contextmanager
def partial_file(output: Path) -> Iterator[PartialFile]:
    """Open the partial file of an output, locked for this process. Without rows it is removed.

    Raises:
        OutputError: Another process writes the same output, or Lanner did not make the directory
            for this user.
    """
    with _locked(output) as handle:
        partial = PartialFile(directory_of(output), handle)
        try:
            yield partial
        finally:
            if not partial.has_rows:
                partial.remove()


@contextmanager
def _locked(output: Path) -> Iterator[int]:
    """Yield the open and locked directory of an output."""
    directory = directory_of(output)
    for _ in range(_TRIES):
        with suppress(FileExistsError):  # a dangling link
            directory.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as held:
            try:
                handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # another process has just removed it
            except OSError:
                raise OutputError(_FOREIGN.format(directory, "no directory")) from None
            held.callback(os.close, handle)
            _require_own(directory, handle)
            try:
                lock = _open_at(handle, _LOCK, os.O_RDWR | os.O_CREAT)
            except FileNotFoundError:
                continue
            held.callback(os.close, lock)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a kill releases it
            except BlockingIOError:
                msg = f"another process writes {output}: wait for it, or choose another output"
                raise OutputError(msg) from None
            # A lock on a removed file does not exclude other processes.
            if _is_still(directory / _LOCK, lock) and _is_still(directory, handle):
                yield handle
                return
    msg = f"{directory} keeps vanishing: find what else writes {output}, or choose another output"
    raise OutputError(msg)


def _require_own(directory: Path, handle: int) -> None:
    """Check that others did not prepare the directory, and deny them access.

    Raises:
        OutputError: Another user owns the directory or a file in it, or a file is not regular.
    """
    own = os.geteuid()
    if os.fstat(handle).st_uid != own:
        raise OutputError(_FOREIGN.format(directory, "of another user"))
    os.fchmod(handle, 0o700)
    for name in os.listdir(handle):
        with suppress(FileNotFoundError):  # a process that ends has removed it
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink <= 1
            if not is_plain or found.st_uid != own or name not in (*_FILES, _LOCK):
                what = f"holding {name!r}, which Lanner did not make"
                raise OutputError(_FOREIGN.format(directory, what))


def _is_still(path: Path, handle: int) -> bool:
    """Return whether a path still leads to an open file."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(handle))


def _open_at(directory: int, name: str, flags: int) -> int:
    safe = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, safe, 0o600, dir_fd=directory)


def directory_of(output: Path) -> Path:
    """Return the directory of the partial file of an output."""
    return output.with_name(f".{output.name}.partial")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _difference(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    missing = object()
    names = [
        name for name in {**earlier, **now} if earlier.get(name, missing) != now.get(name, missing)
    ]
    name = names[0]
    before, after = (str(found.get(name))[:_SHOWN_CHARACTERS] for found in (earlier, now))
    return f"{name[:_SHOWN_CHARACTERS]} ({before}, now {after})"
