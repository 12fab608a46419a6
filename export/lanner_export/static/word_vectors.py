"""Reading word vectors: GloVe and word2vec text, word2vec binary, gensim's own format, FastText.

A file is recognized by its content. It is read once, as a stream: memory holds the list of words
and one block of rows.
"""

import gzip
import zlib
from codecs import BOM_UTF8
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import WordParts
from lanner.errors import CheckpointError
from lanner.files.staging import staged_file
from lanner_export.graph.matrix_file import MatrixFile
from lanner_export.static.fasttext import MAGIC, read_fasttext
from lanner_export.static.keyed_vectors import read_keyed_vectors

#: Enough for the longest possible first line.
_SAMPLE_BYTES = 2**20
_READ_BYTES = 2**20
_BLOCK_BYTES = 2**24
#: More than any vector has; a first line with more means another kind of file.
_LARGEST_DIMENSION = 2**16
_MOST_DIGITS = 18
#: More than any line or word has.
_LINE_BYTES = 2**22
#: Bytes that never occur in text, but in any few rows of binary numbers.
_BINARY_BYTES = frozenset(range(9)) | frozenset(range(14, 32))
_GZIP = b"\x1f\x8b"
_PICKLE = b"\x80"
#: One word in this many may have broken bytes; a file with more is in another encoding.
_WHOLE_PER_BROKEN = 20

GLOVE_TEXT = "glove text"
WORD2VEC_TEXT = "word2vec text"
WORD2VEC_BINARY = "word2vec binary"
KEYED_VECTORS = "gensim KeyedVectors"
FASTTEXT_BINARY = "FastText model"

#: A word, or None if it is not UTF-8, and its vector [dimension].
_Entry = tuple[str | None, NDArray[Any]]


@dataclass(frozen=True)
class WordVectors:
    """A table of word vectors.

    Attributes:
        words: The words in the order of their rows, each once.
        dimension: Width of the vectors.
        rows: The raw rows, little-endian float32 [words and buckets of parts, dimension].
        format: The format of the file, for example ``"glove text"``.
        parts: How words that are not in the table are made of parts; None if they are not.
        left_out: The number of words that are not UTF-8, which no text has.
    """

    words: list[str]
    dimension: int
    rows: Path
    format: str
    parts: WordParts | None = None
    left_out: int = 0

    @property
    def matrix(self) -> MatrixFile:
        """Return the rows as a matrix."""
        buckets = 0 if self.parts is None else self.parts.buckets
        return MatrixFile(self.rows, (len(self.words) + buckets, self.dimension))


class _Layout(NamedTuple):
    """The layout of a file; `promised` rows are None if its first line does not say."""

    format: str
    dimension: int = 0
    promised: int | None = None


def is_word_vectors(path: Path) -> bool:
    """Return whether the beginning of a file looks like word vectors."""
    try:
        return path.is_file() and _layout(_sample(path)) is not None
    except (OSError, EOFError, zlib.error):
        return False


def read_word_vectors(path: Path, rows: Path) -> WordVectors:
    """Read word vectors of any known format; the first of equal words counts.

    Args:
        path: GloVe or word2vec text (like FastText's `.vec`), word2vec binary, a model of FastText
            (`.bin`), or a file of gensim's `KeyedVectors.save`; each may be gzip-compressed.
        rows: The path for the raw rows.

    Raises:
        CheckpointError: The file is missing, damaged or of another kind; the message names the
            line or the word.
        UnsupportedError: It is a classifier or a quantized model of FastText.
    """
    if not path.is_file():
        msg = f"there is no file {path}: check the path"
        raise CheckpointError(msg)
    try:
        layout = _layout(_sample(path))
        if layout is None:
            msg = (
                f"{path} is not a file of word vectors: expected GloVe or word2vec text, "
                "word2vec binary, a model of FastText, or gensim's KeyedVectors"
            )
            raise CheckpointError(msg)
        with _open(path) as file:
            return _read(file, path, layout, rows)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        msg = f"{path} is not a whole gzip file ({error}): copy or download it again"
        raise CheckpointError(msg) from error


def _read(file: BufferedIOBase, path: Path, layout: _Layout, rows: Path) -> WordVectors:
    if layout.format == FASTTEXT_BINARY:
        model = read_fasttext(file, path, rows)
        found = WordVectors(
            model.words, model.dimension, rows, layout.format, model.parts, model.left_out
        )
    else:
        found = _read_table(file, path, layout, rows)
    if found.left_out * _WHOLE_PER_BROKEN > len(found.words):
        rows.unlink()
        msg = (
            f"{found.left_out:,} words of {path} are not UTF-8, and {len(found.words):,} are: "
            "convert the file, or check that it is whole"
        )
        raise CheckpointError(msg)
    return found


def _read_table(file: BufferedIOBase, path: Path, layout: _Layout, rows: Path) -> WordVectors:
    dimension = layout.dimension
    if layout.format == KEYED_VECTORS:
        words, vectors = read_keyed_vectors(file, path)
        dimension = vectors.shape[1]
        entries: Iterator[_Entry] = zip(words, vectors, strict=True)
    elif layout.format == WORD2VEC_BINARY:
        entries = _binary_entries(file, path, layout)
    else:
        entries = _text_entries(file, path, layout)
    words, left_out = _write_rows(entries, dimension, path, rows)
    return WordVectors(words, dimension, rows, layout.format, left_out=left_out)


def _open(path: Path) -> BufferedIOBase:
    """Open a file for reading, behind the byte-order mark that editors put before text."""
    with path.open("rb") as file:
        is_compressed = file.read(2) == _GZIP
    opened: BufferedIOBase = gzip.open(path) if is_compressed else path.open("rb")  # noqa: SIM115
    if opened.read(len(BOM_UTF8)) != BOM_UTF8:
        opened.seek(0)
    return opened


def _sample(path: Path) -> bytes:
    with _open(path) as file:
        return file.read(_SAMPLE_BYTES)


def _layout(sample: bytes) -> _Layout | None:
    if sample.startswith(MAGIC):
        return _Layout(FASTTEXT_BINARY)
    if sample.startswith(_PICKLE):
        return _Layout(KEYED_VECTORS) if b"gensim" in sample[:200] else None
    first, _, rest = sample.partition(b"\n")
    fields = first.split()
    if len(fields) == 2 and all(f.isdigit() and len(f) <= _MOST_DIGITS for f in fields):
        count, dimension = map(int, fields)
        if dimension > _LARGEST_DIMENSION:
            return None
        is_binary = not _BINARY_BYTES.isdisjoint(rest)
        return _Layout(WORD2VEC_BINARY if is_binary else WORD2VEC_TEXT, dimension, count)
    # The word itself may be a number, or hold spaces.
    dimension = 0
    while dimension < len(fields) - 1 and _is_number(fields[-1 - dimension]):
        dimension += 1
    return _Layout(GLOVE_TEXT, dimension) if dimension > 1 else None


def _text_entries(file: BufferedIOBase, path: Path, layout: _Layout) -> Iterator[_Entry]:
    _, dimension, promised = layout
    first_line = 1
    if promised is not None:
        file.readline()
        first_line = 2
    found = 0
    for number, line in enumerate(iter(lambda: file.readline(_LINE_BYTES), b""), first_line):
        if len(line) == _LINE_BYTES:
            msg = f"line {number} of {path} does not end: copy or download the file again"
            raise CheckpointError(msg)
        # From the right, because some words of GloVe have spaces in them.
        word, *values = line.rsplit(None, dimension) or [b""]
        if line.startswith(b" ") and len(values) == dimension - 1 and line.strip():
            word, values = b" ", [word, *values]  # segmenters give blanks, which gensim saves
        if len(values) != dimension or _ends_with_number(word):
            if not line.strip():
                continue
            msg = (
                f"line {number} of {path} has {len(line.split()) - 1} values where {dimension} "
                "were expected: remove or repair the line"
            )
            raise CheckpointError(msg)
        try:
            vector = np.array(values, np.float32)
        except ValueError:
            bad = next(value for value in values if not _is_number(value))
            msg = (
                f"line {number} of {path} has {bad.decode(errors='replace')!r} where a number was "
                "expected: remove or repair the line"
            )
            raise CheckpointError(msg) from None
        yield _decoded(word), vector
        found += 1
    if promised is not None and found != promised:
        _refuse_count(path, promised, str(found))


def _binary_entries(file: BufferedIOBase, path: Path, layout: _Layout) -> Iterator[_Entry]:
    _, dimension, promised = layout
    vector_bytes = 4 * dimension
    file.readline()
    buffer, start = b"", 0
    for number in range(promised or 0):
        while (space := buffer.find(b" ", start)) < 0 or len(buffer) <= space + vector_bytes:
            more = file.read(_READ_BYTES)
            if not more:
                _refuse_count(path, promised, str(number))
            if len(buffer) - start > vector_bytes + _LINE_BYTES:
                msg = f"the word of row {number} of {path} does not end: copy or download it again"
                raise CheckpointError(msg)
            buffer, start = buffer[start:] + more, 0
        # The original tool ends each row with a line feed, gensim does not.
        yield (
            _decoded(buffer[start:space].lstrip(b"\n")),
            np.frombuffer(buffer, "<f4", dimension, space + 1),
        )
        start = space + 1 + vector_bytes
    if (buffer[start:] + file.read(_READ_BYTES)).strip(b"\n"):
        _refuse_count(path, promised, "more")


def _write_rows(
    entries: Iterator[_Entry], dimension: int, path: Path, rows: Path
) -> tuple[list[str], int]:
    """Write the rows; return their words, and the number of those that no text has."""
    words: dict[str, None] = {}
    left_out = 0
    block = np.empty((max(1, _BLOCK_BYTES // max(1, 4 * dimension)), dimension), "<f4")
    filled = 0
    # Values beyond float32 become infinite, and are refused as such.
    with staged_file(rows) as file, np.errstate(over="ignore"):
        for word, vector in entries:
            if word is None:
                left_out += 1
                continue
            if word in words:
                continue
            words[word] = None
            block[filled] = vector
            filled += 1
            if filled == len(block):
                file.write(_finite(block, words, path))
                filled = 0
        if (not words and not left_out) or not dimension:
            msg = f"{path} holds no vectors: give a file that does"
            raise CheckpointError(msg)
        file.write(_finite(block[:filled], words, path))
    return list(words), left_out


def _finite(block: NDArray[np.float32], words: dict[str, None], path: Path) -> bytes:
    is_finite = np.isfinite(block).all(axis=1)
    if not is_finite.all():
        word = list(words)[int(np.argmin(is_finite)) - len(block)]
        msg = (
            f"the vector of {word!r} in {path} has a value that is not a finite number of float32: "
            "remove or repair it"
        )
        raise CheckpointError(msg)
    return block.tobytes()


def _ends_with_number(word: bytes) -> bool:
    # A word of GloVe may have spaces, but a number after a space is one value too many.
    parts = word.split()
    return len(parts) > 1 and _is_number(parts[-1])


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _decoded(word: bytes) -> str | None:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return None


def _refuse_count(path: Path, promised: int | None, found: str) -> NoReturn:
    msg = (
        f"{path} promises {promised} vectors in its first line and holds {found}: "
        "it was cut off or changed, so copy or download it again"
    )
    raise CheckpointError(msg)
