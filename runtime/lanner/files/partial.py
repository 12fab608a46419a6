"""An output that is written over several runs, in a hidden directory beside it.

`body` holds what was written, and `state.json` how much of it counts. The body grows first and is
flushed to the disk; then the state is replaced by a rename. So at any moment the state tells of
bytes that are there, and what stands behind them in the body is cut off by the next run.

The directory may have been put there by somebody else, so it is used only if it is this user's own
and holds nothing but plain files of theirs; no link is followed, and nobody else may enter it.
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
from typing import Any, BinaryIO

from lanner.errors import OutputError

#: How a user discards what an earlier run left.
RESTART = "--restart"

_LOCK, _BODY, _STATE, _NEW_STATE = "lock", "body", "state.json", "state.new"
#: All that is in such a directory; "whole" is what writers make of a body.
_FILES = (_STATE, _NEW_STATE, _BODY, "whole")
_FOREIGN = "{} is {}: look at it and remove it, or give another output"
_PIECE_BYTES = 2**20
#: How often a directory may go while it is opened.
_TRIES = 100


@dataclass(frozen=True)
class Written:
    """How far an output has come.

    Attributes:
        rows: Rows that were read, good or bad.
        vectors: Vectors that were written.
        bytes: How much of the body they take.
        unchecked_bytes: How much of that, at its start, the writer will write again at the end.
        sha256: Of the rest.
        digest: Of the input until there; see `lanner.files.rows.Rows.digest`.
        skipped: Bad rows that were passed over.
        bad_rows: What was wrong with the first of these.
        writer: What the writer remembers.
    """

    rows: int = 0
    vectors: int = 0
    bytes: int = 0
    unchecked_bytes: int = 0
    sha256: str = ""
    digest: str = ""
    skipped: int = 0
    bad_rows: list[str] = field(default_factory=list)
    writer: Mapping[str, Any] = field(default_factory=dict)


class PartialFile:
    """The directory of one output; made by `partial_file`.

    Args:
        directory: Its place.
        handle: The open directory.

    Attributes:
        directory: Its place.
        body: The file that grows.
        written: What counts of it.
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
        """Whether anything in it counts, of this run or of an earlier one."""
        return self._has(_STATE)

    def recall(self, identity: Mapping[str, Any], *, restart: bool) -> None:
        """Takes up what an earlier run left.

        Args:
            identity: What the bytes of the output depend on besides its input, as JSON.
            restart: Whether to discard what is there.

        Raises:
            OutputError: It is of another identity, or damaged.
        """
        self._identity = identity
        # Without its body, which has become the output before a kill, a state says nothing.
        if restart or not self._has(_BODY):
            self._unlink(_STATE)
        if not self._has(_STATE):
            return
        try:
            with self._open(_STATE, "rb") as file:
                content = json.loads(file.read())
            earlier, written = dict(content["identity"]), Written(**content["written"])
            is_whole = self._is_whole(written)
        except (ValueError, KeyError, TypeError, RecursionError):
            earlier, written, is_whole = {}, Written(), False
        if not is_whole:
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
            with self._open(_BODY, "a+b") as file:
                file.truncate(self.written.bytes)
                yield file
        except OSError:
            # Not after an interrupt, which may come when the state has just gone further.
            with suppress(OSError), self._open(_BODY, "r+b") as file:
                file.truncate(self.written.bytes)
            raise

    def leave_unchecked(self, body: BinaryIO) -> None:
        """Counts what the body holds as what the writer will write again at the end."""
        body.flush()
        start = os.fstat(body.fileno()).st_size
        self.written = replace(self.written, unchecked_bytes=start)
        self._summed_bytes = start

    def commit(self, body: BinaryIO, written: Written) -> None:
        """Makes what was written to the body count."""
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
        """Takes the directory away; what is not of its making stays, and it with that."""
        with suppress(OSError):
            for name in (*_FILES, _LOCK):  # the lock last: until then nobody else begins
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
        """Goes on with the checksum to a place in the body."""
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
    """The partial file of an output, for this process alone. One without a row goes again.

    Raises:
        OutputError: Another process writes the same output, or the directory is not one that
            Lanner made for this user.
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
    """The directory of an output, open and locked."""
    directory = directory_of(output)
    for _ in range(_TRIES):
        with suppress(FileExistsError):  # a link to nothing
            directory.mkdir(mode=0o700, exist_ok=True)
        with ExitStack() as held:
            try:
                handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            except FileNotFoundError:
                continue  # whoever had it is done
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
                msg = f"another process writes {output}: wait for it, or give another output"
                raise OutputError(msg) from None
            # A lock whose file was removed meanwhile keeps nobody out.
            if _is_still(directory / _LOCK, lock) and _is_still(directory, handle):
                yield handle
                return
    msg = f"{directory} comes and goes: see what else writes {output}, or give another output"
    raise OutputError(msg)


def _require_own(directory: Path, handle: int) -> None:
    """Refuses a directory that others may have prepared, and closes it to them.

    Raises:
        OutputError: It, or a file in it, is of another user, or no plain file.
    """
    own = os.geteuid()
    if os.fstat(handle).st_uid != own:
        raise OutputError(_FOREIGN.format(directory, "of another user"))
    os.fchmod(handle, 0o700)
    for name in os.listdir(handle):
        with suppress(FileNotFoundError):  # of a process that is done just now
            found = os.stat(name, dir_fd=handle, follow_symlinks=False)
            is_plain = stat.S_ISREG(found.st_mode) and found.st_nlink <= 1
            if not is_plain or found.st_uid != own or name not in (*_FILES, _LOCK):
                what = f"holding {name!r}, which Lanner did not make"
                raise OutputError(_FOREIGN.format(directory, what))


def _is_still(path: Path, handle: int) -> bool:
    """Return whether a path leads to what is open."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return os.path.samestat(found, os.fstat(handle))


def _open_at(directory: int, name: str, flags: int) -> int:
    safe = flags | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    return os.open(name, safe, 0o600, dir_fd=directory)


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
