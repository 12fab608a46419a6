"""The folder of a job's output: its record, a file for each fragment, and the bad rows.

A file gets its name when it is complete, and the name has the fragment and the fingerprint of the
job. So a fragment is done if its file is there, whoever wrote it and however often.
"""

import json
import os
import re
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from lanner.artifact.bounded import parse_json
from lanner.distributed.fragments import Fragment, file_id
from lanner.distributed.storage import filesystem
from lanner.errors import OutputError
from lanner.files.partial import RESTART
from lanner.files.staging import flush

#: Readers of folders leave out names that begin so.
RECORD, BAD_ROWS, _UNFINISHED = "_lanner.json", "_bad_rows", "_unfinished"
_FORMAT, _FORMAT_VERSION = "lanner-encode-job", 1
#: Storage in which a file is there as a whole, or not at all.
_WHOLE = frozenset({"s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "adl", "oss", "memory"})
#: The name of a file: its kind, the fragment, the fingerprint of the job.
_NAME = re.compile(r"(part|bad)-([0-9a-f]{24})-[0-9a-f]{16}\.parquet")
_MOST_RECORD_BYTES = 2**30
_SHOWN_CHARACTERS = 100


@dataclass(frozen=True)
class Record:
    """The record of a job.

    Attributes:
        identity: All that the answers depend on besides the input.
        fingerprint: The beginning of its SHA-256.
        source: The input.
        fragments: Name -> description of each fragment of the last run.
    """

    identity: dict[str, str]
    fingerprint: str
    source: str
    fragments: dict[str, str]


class Output:
    """The folder of a job's output, in any storage that fsspec writes.

    Args:
        place: A path or a URL.
    """

    def __init__(self, place: str) -> None:
        self.place = place
        self._files, self._root = filesystem(place)
        protocols = self._files.protocol
        names = (protocols,) if isinstance(protocols, str) else tuple(protocols)
        self._is_local = "file" in names or "local" in names
        self._is_whole = not _WHOLE.isdisjoint(names)

    def record(self) -> Record | None:
        """Return the record of the job, or None if there is none yet.

        Raises:
            OutputError: It is damaged, or a newer Lanner wrote it.
        """
        try:
            with self._files.open(f"{self._root}/{RECORD}", "rb") as file:
                raw = file.read(_MOST_RECORD_BYTES)
        except FileNotFoundError:
            return None
        try:
            content = parse_json(raw)
            if (content.pop("format"), content.pop("format_version")) == (_FORMAT, _FORMAT_VERSION):
                return Record(**content)
        except (ValueError, KeyError, TypeError, AttributeError):
            pass
        msg = f"{self.place}/{RECORD} is damaged, or a newer Lanner wrote it: use {RESTART}"
        raise OutputError(msg)

    def begin(self, record: Record, *, restart: bool) -> None:
        """Write the record of a run, after a check that the folder is one of the same job.

        Args:
            record: The record.
            restart: Remove the output of another job.

        Raises:
            OutputError: The folder holds the output of another job, or of something else.
        """
        earlier = None if restart else self.record()
        if restart:
            self._remove_own()
        elif earlier is not None and earlier.fingerprint != record.fingerprint:
            msg = (
                f"{self.place} holds the output of a job with another "
                f"{_difference(earlier.identity, record.identity)}: choose another output, or "
                f"{RESTART} to remove it"
            )
            raise OutputError(msg)
        if earlier is None and (foreign := self._names()):
            msg = f"{self.place} holds {foreign[0]}, and no job of Lanner: choose an empty folder"
            raise OutputError(msg)
        content = {"format": _FORMAT, "format_version": _FORMAT_VERSION, **asdict(record)}
        with self.written(RECORD) as path:
            path.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")

    def parts(self) -> dict[str, str]:
        """Return the fragments that are done: name of the fragment -> path of its file."""
        return self._found(self._root, "part")

    def bad_rows(self) -> dict[str, str]:
        """Return the files of bad rows: name of the fragment -> path."""
        return self._found(f"{self._root}/{BAD_ROWS}", "bad")

    def _found(self, folder: str, kind: str) -> dict[str, str]:
        self._files.invalidate_cache()
        names = ((_NAME.fullmatch(PurePosixPath(path).name), path) for path in self._listed(folder))
        return {name[2]: path for name, path in names if name is not None and name[1] == kind}

    def open(self, path: str) -> Any:
        """Return one of those paths, opened for reading."""
        return self._files.open(path, "rb")

    def remove_stale(self, fragments: Sequence[Fragment]) -> int:
        """Remove the output of earlier contents of input files; return the number of fragments.

        Args:
            fragments: The fragments of the input as it is.
        """
        names = {fragment.name for fragment in fragments}
        files = {file_id(fragment.file) for fragment in fragments}
        stale = [name for name in self.parts() if name not in names and name[:8] in files]
        for found in (self.parts(), self.bad_rows()):
            for name in stale:
                if name in found:
                    self._files.rm_file(found[name])
        return len(stale)

    def remove_unfinished(self) -> None:
        """Remove what killed workers have left."""
        with suppress(FileNotFoundError, OSError):
            self._files.rm(f"{self._root}/{_UNFINISHED}", recursive=True)

    @contextmanager
    def written(self, name: str) -> Iterator[Path]:
        """Yield a temporary path, whose file becomes one of the folder when the block succeeds."""
        target = f"{self._root}/{name}"
        if self._is_local:
            unfinished = Path(self._root) / _UNFINISHED
            unfinished.mkdir(parents=True, exist_ok=True)
            path = unfinished / uuid.uuid4().hex
            try:
                yield path
                flush(path)
                Path(target).parent.mkdir(parents=True, exist_ok=True)
                path.replace(target)
                flush(Path(target).parent)
            finally:
                path.unlink(missing_ok=True)
            return
        with tempfile.TemporaryDirectory(prefix="lanner-") as directory:
            path = Path(directory) / "new"
            yield path
            if self._is_whole:
                self._files.put_file(os.fspath(path), target)
                return
            beside = f"{self._root}/{_UNFINISHED}/{uuid.uuid4().hex}"
            self._files.makedirs(f"{self._root}/{_UNFINISHED}", exist_ok=True)
            self._files.makedirs(target.rpartition("/")[0], exist_ok=True)
            self._files.put_file(os.fspath(path), beside)
            self._files.mv(beside, target)

    def _remove_own(self) -> None:
        for path in [*self.parts().values(), *self.bad_rows().values()]:
            self._files.rm_file(path)
        with suppress(FileNotFoundError):
            self._files.rm_file(f"{self._root}/{RECORD}")
        self.remove_unfinished()

    def _names(self) -> list[str]:
        names = [PurePosixPath(path).name for path in self._listed(self._root)]
        return [name for name in names if name not in (_UNFINISHED, BAD_ROWS)]

    def _listed(self, folder: str) -> list[str]:
        try:
            return sorted(self._files.ls(folder, detail=False))
        except FileNotFoundError:
            return []


def part_name(fragment: Fragment, fingerprint: str) -> str:
    """Return the name of the file of a fragment."""
    return f"part-{fragment.name}-{fingerprint}.parquet"


def bad_rows_name(fragment: Fragment, fingerprint: str) -> str:
    """Return the name of the file of a fragment's bad rows."""
    return f"{BAD_ROWS}/bad-{fragment.name}-{fingerprint}.parquet"


def _difference(earlier: Mapping[str, str], now: Mapping[str, str]) -> str:
    names = [name for name in {**earlier, **now} if earlier.get(name) != now.get(name)]
    before, after = (str(found.get(names[0]))[:_SHOWN_CHARACTERS] for found in (earlier, now))
    return f"{names[0]} ({before}, now {after})"
