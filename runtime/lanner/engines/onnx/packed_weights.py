"""Weights in the layout of a CPU's kernels, as ONNX Runtime saves them beside a model.

Its kernels load packed weights in whole lines of the cache, from addresses that must be multiples
of 64 bytes (``vmovaps`` with AVX-512). ONNX Runtime 1.31 writes those below 1 MB one after the
other and maps them there: behind a bias of 340 numbers, the next product ended the process with a
segmentation fault.
"""

import mmap
from pathlib import Path

from lanner.engines.onnx.file import (
    EXTERNAL_DATA,
    INITIALIZER,
    Field,
    external_entry,
    inside,
    mapped,
    tag,
    with_changed_graph,
    written_entry,
)

ALIGNMENT_BYTES = 64
_PACKED = "prepacked"  # the key of each packed weight begins so


def align_packed_weights(path: Path, weights: Path) -> None:
    """Copy the packed weights that begin elsewhere to multiples of 64 bytes.

    Args:
        path: A model that ONNX Runtime saved, whose entries are written anew.
        weights: The file of its weights. The copies are added at its end.

    Raises:
        ValueError: The model is damaged; an IndexError if it ends too early.
        OSError: A file cannot be read, or the disk is full.
    """
    with mapped(path) as model, mapped(weights) as data, weights.open("ab") as file:
        copies = _Copies(data)
        changed = with_changed_graph(model, lambda field: _aligned(model, field, copies))
        if not copies.places:
            return
        with memoryview(data) as view:
            for begin, length, padding in copies.places:
                file.write(bytes(padding))
                file.write(view[begin : begin + length])
    path.write_bytes(changed)


class _Copies:
    """Copies that are still to be added to the file of the weights."""

    def __init__(self, data: mmap.mmap) -> None:
        self.end = len(data)
        #: For each copy its offset, its length and the bytes between it and the one before.
        self.places: list[tuple[int, int, int]] = []

    def offset_of(self, offset: int, length: int) -> int:
        """Return where a packed weight begins in the end."""
        if offset % ALIGNMENT_BYTES == 0:
            return offset
        padding = -self.end % ALIGNMENT_BYTES
        self.places.append((offset, length, padding))
        begin = self.end + padding
        self.end = begin + length
        return begin


def _aligned(model: mmap.mmap, field: Field, copies: _Copies) -> bytes:
    """Return a field of the graph, with the offsets of aligned weights."""
    if field.number != INITIALIZER:
        return model[field.begin : field.end]
    parts = []
    for inner in inside(model, field):
        part = model[inner.begin : inner.end]
        if inner.number == EXTERNAL_DATA:
            key, value = external_entry(model, inner)
            if key.startswith(_PACKED):
                part = written_entry(key, _moved(value, copies))
        parts.append(part)
    return tag(INITIALIZER, sum(map(len, parts))) + b"".join(parts)


def _moved(value: str, copies: _Copies) -> str:
    """Return "name|offset;length;checksum|..." with the offsets of aligned weights."""
    name, *blobs = value.split("|")
    moved = [name]
    for blob in blobs:
        offset, length, *rest = blob.split(";")
        begin = copies.offset_of(int(offset), int(length))
        moved.append(";".join([str(begin), length, *rest]))
    return "|".join(moved)
