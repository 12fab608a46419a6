"""Fragments: the parts of input files that are encoded, written and repeated as a whole."""

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from lanner.distributed.storage import filesystem
from lanner.errors import InputError
from lanner.files.parquet_footer import read_footer
from lanner.files.row_files import TEXT_SUFFIXES, require_suffix

#: A fragment of a .parquet file has whole row groups, until they have this many rows.
FRAGMENT_ROWS = 65_536
#: A fragment of a .jsonl or .txt file has the lines that begin in this many bytes.
FRAGMENT_BYTES = 2**25
#: Formats that can be cut at any line.
_LINES = (".jsonl", ".txt")
#: What storage says of the content of a file, the most precise first.
_CONTENT = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "updated", "created")
#: Footers of .parquet files that are read at once.
_FOOTERS_AT_ONCE = 16
_MAGIC = frozenset("*?[")


@dataclass(frozen=True)
class Fragment:
    """A part of an input file.

    Attributes:
        file: The path or URL of the file.
        content: What storage says of its content: its size, and a checksum or a time.
        suffix: One of `TEXT_SUFFIXES`.
        start: The first row group of a .parquet file, or the first byte.
        end: The row group or byte behind the last; a line belongs to the fragment that it begins
            in.
        first_row: The number of rows before the first row group; 0 for other files.
    """

    file: str
    content: str
    suffix: str
    start: int
    end: int
    first_row: int = 0

    @property
    def name(self) -> str:
        """The identity of the fragment, 24 hexadecimal digits, of which 8 are those of the file."""
        return f"{file_id(self.file)}{_digest(json.dumps(asdict(self)))[:16]}"

    def __str__(self) -> str:
        unit = "row groups" if self.suffix == ".parquet" else "bytes"
        return f"{self.file}, {unit} {self.start:,} to {self.end:,}"


def file_id(file: str) -> str:
    """Return what the names of all fragments of a file begin with."""
    return _digest(file)[:8]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def list_fragments(
    source: str,
    *,
    kind: str | None = None,
    fragment_rows: int = FRAGMENT_ROWS,
    fragment_bytes: int = FRAGMENT_BYTES,
) -> list[Fragment]:
    """Return the fragments of a file, of the files of a folder, or of those that a pattern names.

    Args:
        source: A path or a URL of fsspec. Of a folder, files whose name begins with ``.`` or
            ``_``, and those of other kinds, are left out.
        kind: One of `TEXT_SUFFIXES`, if the names do not end in it.
        fragment_rows: See `FRAGMENT_ROWS`.
        fragment_bytes: See `FRAGMENT_BYTES`.

    Raises:
        InputError: There is no such file, or one of another kind is named, or cannot be read.
    """
    files, path = filesystem(source)

    def fragments_of(listed: tuple[str, dict[str, Any]]) -> list[Fragment]:
        name, details = listed
        suffix = kind or PurePosixPath(name).suffix.lower()
        require_suffix(name, suffix, TEXT_SUFFIXES)
        size = int(details["size"])
        url = files.unstrip_protocol(name) if "://" in source else name
        cuts = _cuts(files, name, suffix, size, fragment_rows, fragment_bytes)
        return [Fragment(url, content_of(details), suffix, *cut) for cut in cuts]

    # A footer in storage takes a journey or two, and all workers wait for the list.
    with ThreadPoolExecutor(_FOOTERS_AT_ONCE) as pool:
        listed = _listed(files, path, source, kind)
        return [one for some in pool.map(fragments_of, listed) for one in some]


def content_of(details: dict[str, Any]) -> str:
    """Return what storage says of the content of a file: its size, and a checksum or a time."""
    said = next((str(details[key]) for key in _CONTENT if details.get(key)), "")
    return f"{int(details['size'])} {said}"


def _listed(
    files: Any, path: str, source: str, kind: str | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the files with what storage says of them, in the order of their names."""
    if _MAGIC.intersection(path):
        details = files.glob(path, detail=True)
    elif files.isdir(path):
        details = {
            name: one
            for name, one in files.find(path, detail=True).items()
            if kind is not None or PurePosixPath(name).suffix.lower() in TEXT_SUFFIXES
            if not _is_hidden(name, path)
        }
    else:
        try:
            details = {path: files.info(path)}
        except FileNotFoundError:
            details = {}
    wanted = {name: one for name, one in details.items() if one.get("type") == "file"}
    if not wanted:
        msg = f"there is no input file at {source}: check the path"
        raise InputError(msg)
    yield from sorted(wanted.items())


def _is_hidden(name: str, folder: str) -> bool:
    parts = PurePosixPath(name).parts[len(PurePosixPath(folder).parts) :]
    return any(part.startswith((".", "_")) for part in parts)


def _cuts(
    files: Any, name: str, suffix: str, size: int, fragment_rows: int, fragment_bytes: int
) -> Iterator[tuple[int, int, int]]:
    """Yield the start, the end and the first row of each fragment of a file."""
    if suffix == ".parquet":
        with files.open(name, "rb") as file:
            groups = read_footer(file, name, ()).rows
        start = first_row = rows = 0
        for number, count in enumerate(groups, 1):
            rows += count
            if rows >= fragment_rows or number == len(groups):
                yield start, number, first_row
                start, first_row, rows = number, first_row + rows, 0
        return
    step = fragment_bytes if suffix in _LINES else max(1, size)
    for start in range(0, max(1, size), step):
        yield start, min(start + step, size), 0
