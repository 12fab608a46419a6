"""Reading models of FastText (.bin): words, and the buckets that parts of words are hashed into.

The format is that of `FastText::saveModel` (version 12, and 11 before it). The vector of a word in
the table is the mean of its own row and of those of its parts. It is worked out once, here.
"""

import gzip
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import LARGEST_SIZE, LONGEST_PART, WordParts
from lanner.errors import CheckpointError, UnsupportedError
from lanner.files.staging import staged_file
from lanner.text.word_parts import buckets_of
from lanner_export.graph.matrix_file import MatrixFile

#: The first four bytes of a model (`FASTTEXT_FILEFORMAT_MAGIC_INT32`).
MAGIC = b"\xba\x16\x4f\x2f"
_VERSIONS = (11, 12)
#: Version, `Args` up to the learning rate's updates, and the sampling threshold.
_HEADER = struct.Struct("<4s13id")
#: Sizes of the dictionary: entries, words and labels, the tokens of the training, pruned parts.
_SIZES = struct.Struct("<3i2q")
#: Behind a word: how often it occurred, and whether it is a label.
_ENTRY = struct.Struct("<qb")
#: Before the rows: whether they are quantized, and their shape.
_MATRIX = struct.Struct("<b2q")
_SUPERVISED = 3
#: The end of a sentence, a word that has no parts.
_END = b"</s>"
_LARGEST_DIMENSION = 2**16
_READ_BYTES = 2**20
_WORD_BYTES = 2**16
_BLOCK_ROWS = 2**12


@dataclass(frozen=True)
class FastText:
    """The table of a model.

    Attributes:
        words: The words in the order of their rows. Those that are not UTF-8 are left out: no text
            has them.
        left_out: The number of words that are left out.
        dimension: Width of the vectors.
        parts: The parts of words; None if the model was trained without.
        rows: The raw rows, little-endian float32 [words + buckets, dimension].
    """

    words: list[str]
    left_out: int
    dimension: int
    parts: WordParts | None
    rows: Path


@dataclass(frozen=True)
class _Header:
    dimension: int
    parts: WordParts | None
    buckets: int
    words: int


def read_fasttext(file: BufferedIOBase, path: Path, rows: Path) -> FastText:
    """Read a model of FastText and write its rows.

    Args:
        file: The opened model.
        path: Its path, for messages; its rows are mapped unless it is compressed.
        rows: The path for the raw rows.

    Raises:
        CheckpointError: The model is damaged.
        UnsupportedError: It is a classifier, quantized, or larger than token ids can say.
    """
    try:
        header = _header(file, path)
        raw = list(_words(file, path, header.words))
        is_quantized, count, dimension = _unpacked(_MATRIX, file)
    except (struct.error, UnicodeDecodeError) as error:
        raise _not_whole(path) from error
    if is_quantized:
        msg = (
            f"{path} is a quantized model of FastText (.ftz), and Lanner reads whole rows: export "
            "the .bin that it was made of"
        )
        raise UnsupportedError(msg)
    if (count, dimension) != (len(raw) + header.buckets, header.dimension):
        raise _not_whole(path)
    matrix = _matrix(file, path, rows, (count, dimension))
    words = [word for word in map(_decoded, raw) if word is not None]
    if not words:
        msg = f"{path} holds no vectors: give a file that does"
        raise CheckpointError(msg)
    with staged_file(rows) as output:
        for block in _blocks(matrix, raw, header.parts):
            if not np.isfinite(block).all():
                msg = (
                    f"{path} has a row with a value that is not a finite number: train the model "
                    "again, with a lower learning rate"
                )
                raise CheckpointError(msg)
            output.write(block.tobytes())
    return FastText(words, len(raw) - len(words), dimension, header.parts, rows)


def _header(file: BufferedIOBase, path: Path) -> _Header:
    _, version, dimension, *arguments, _ = _unpacked(_HEADER, file)
    kind, buckets, shortest, longest = arguments[6:10]
    entries, words, labels, _, pruned = _unpacked(_SIZES, file)
    if version not in _VERSIONS:
        known = " and ".join(map(str, _VERSIONS))
        msg = f"{path} is a model of FastText's format {version}, and Lanner reads {known}"
        raise UnsupportedError(msg)
    if kind == _SUPERVISED or labels > 0:
        msg = (
            f"{path} is a classifier of FastText, and Lanner exports its vectors of words alone: "
            "write them with 'fasttext print-word-vectors', and export that file"
        )
        raise UnsupportedError(msg)
    if pruned > 0:
        msg = f"{path} has lost parts of words (pruned): export the .bin that it was made of"
        raise UnsupportedError(msg)
    is_sound = 0 < dimension <= _LARGEST_DIMENSION and entries == words > 0 <= buckets
    if not is_sound or shortest < 0 or longest < 0:
        raise _not_whole(path)
    if words + buckets > LARGEST_SIZE or longest > LONGEST_PART:
        msg = (
            f"{path} has {words + buckets:,} rows and parts of up to {longest} characters, and "
            f"Lanner takes {LARGEST_SIZE:,} rows and {LONGEST_PART} characters at most"
        )
        raise UnsupportedError(msg)
    shortest = max(1, shortest)
    has_parts = buckets and longest >= shortest
    parts = WordParts(buckets, shortest, longest) if has_parts else None
    return _Header(dimension, parts, buckets, words)


def _words(file: BufferedIOBase, path: Path, count: int) -> Iterator[bytes]:
    """Yield the bytes of each word, and leave the file behind the last entry."""
    buffer, start = b"", 0
    for _ in range(count):
        while (end := buffer.find(b"\0", start)) < 0 or len(buffer) < end + 1 + _ENTRY.size:
            more = file.read(_READ_BYTES)
            if not more or len(buffer) - start > _WORD_BYTES + _READ_BYTES:
                raise _not_whole(path)
            buffer, start = buffer[start:] + more, 0
        if end - start > _WORD_BYTES:
            raise _not_whole(path)
        yield buffer[start:end]
        start = end + 1 + _ENTRY.size
    file.seek(start - len(buffer), 1)


def _matrix(
    file: BufferedIOBase, path: Path, rows: Path, shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Return the rows, mapped; a compressed file is unpacked beside `rows`."""
    offset, needed = file.tell(), 4 * shape[0] * shape[1]
    if isinstance(file, gzip.GzipFile):
        path, offset = rows.with_name(rows.name + ".unpacked"), 0
        with path.open("wb") as unpacked:
            for left in range(needed, 0, -_READ_BYTES):
                unpacked.write(file.read(min(left, _READ_BYTES)))
    if path.stat().st_size < offset + needed:
        raise _not_whole(path)
    matrix: NDArray[np.float32] = MatrixFile(path, shape, offset_bytes=offset).array()
    return matrix


def _blocks(
    matrix: NDArray[np.float32], words: list[bytes], parts: WordParts | None
) -> Iterator[NDArray[np.float32]]:
    """Yield the rows of the words that are UTF-8, and of the buckets behind them."""
    matrix = np.asarray(matrix)  # a plain view: rows of a memmap are slow to make
    count = len(words)
    for start in range(0, count, _BLOCK_ROWS):
        chosen = range(start, min(start + _BLOCK_ROWS, count))
        kept = [row for row in chosen if _decoded(words[row]) is not None]
        block = np.empty((len(kept), matrix.shape[1]), "<f4")
        for place, row in enumerate(kept):
            word = words[row]
            buckets = [] if parts is None or word == _END else buckets_of(word, parts)
            own = [row, *(count + bucket for bucket in buckets)]
            block[place] = matrix[own].mean(axis=0, dtype=np.float64)
        yield block
    if parts is not None:
        for start in range(count, len(matrix), _BLOCK_ROWS):
            yield matrix[start : start + _BLOCK_ROWS]


def _unpacked(layout: struct.Struct, file: BufferedIOBase) -> tuple[Any, ...]:
    return layout.unpack(file.read(layout.size))


def _decoded(word: bytes) -> str | None:
    try:
        return word.decode()
    except UnicodeDecodeError:
        return None


def _not_whole(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is not a whole model of FastText: copy or download it again")
