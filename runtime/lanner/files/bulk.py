"""Files of any size to vectors, chunk by chunk, over as many runs as it takes.

A chunk is a fixed number of rows, encoded by one call: what a text is batched with may show in the
last bits of its vector, so the chunks must be the same whichever run encodes them. A run that was
killed is gone on with behind its last whole chunk, and what comes out is what one run would have
written, byte for byte.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from numpy.typing import NDArray

from lanner.errors import InputError, OutputError
from lanner.files.partial import RESTART, PartialFile, Written, partial_file
from lanner.files.rows import BadRow, Row, Rows
from lanner.files.staging import NO_ROOM, require_output_file
from lanner.files.vector_file import Layout
from lanner.files.vectors import vector_file
from lanner.models.base import TEXTS_AT_ONCE

#: What a chunk ends at, whichever comes first: the second bounds its memory where texts are long.
CHUNK_ROWS = TEXTS_AT_ONCE
CHUNK_CHARACTERS = 2**24
#: How many bad rows are remembered with what was wrong.
BAD_ROWS_SHOWN = 5
#: Fields of `Bulk` by which a run may differ from the one that it goes on with: the rows are
#: compared one by one, `identity` is counted apart, and the others change no byte of a vector.
_MAY_DIFFER = frozenset(
    {"rows", "encode", "output", "identity", "skips_bad_rows", "restart", "progressed"}
)


class Chunk(NamedTuple):
    """Rows that are encoded together, the bad ones apart."""

    rows: list[Row]
    bad: list[BadRow]


class Outcome(NamedTuple):
    """What a run has done.

    Attributes:
        written: What the output holds.
        earlier_rows: How many rows had been read by earlier runs.
    """

    written: Written
    earlier_rows: int


@dataclass(frozen=True)
class Bulk:
    """One file to be encoded into another.

    Attributes:
        rows: The input, not read yet.
        encode: Texts to vectors [n, width].
        output: The file to be written, of one of `lanner.files.vectors.VECTOR_SUFFIXES`.
        identity: What vectors depend on besides the texts and this job's other fields, as JSON: an
            earlier run with another one is not gone on with.
        with_text: Whether the texts are carried along.
        skips_bad_rows: Whether a bad row is passed over, and not an error.
        restart: Whether to discard what an earlier run left.
        progressed: Called with what is done: when rows of earlier runs were passed over, and after
            each chunk.
    """

    rows: Rows
    encode: Callable[[list[str]], NDArray[Any]]
    output: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    with_text: bool = True
    skips_bad_rows: bool = False
    restart: bool = False
    progressed: Callable[[Written], None] = lambda _: None

    def run(self) -> Outcome:
        """Writes the output; it is there when all of it is.

        Raises:
            InputError: A row is bad, the input changed, or no file can be written there.
            OutputError: The disk is full, or an earlier run had another identity. Finished chunks
                are kept in any case.
        """
        require_output_file(self.output)
        writer = vector_file(self.output.suffix, Layout(self.rows, self.encode([]), self.with_text))
        with partial_file(self.output) as partial, _explained(self.output, partial):
            partial.recall(self._whole_identity(), restart=self.restart)
            self._pass_over(partial)
            earlier_rows = partial.written.rows
            self.progressed(partial.written)
            with partial.opened() as body:
                if earlier_rows:
                    writer.state.update(partial.written.writer)
                else:
                    writer.start(body)
                    if writer.rewrites_start:
                        partial.leave_unchecked(body)
                for chunk in self._chunks(partial):
                    if chunk.rows:
                        texts = self.rows.columns.texts[0]
                        vectors = self.encode([row.values[texts] for row in chunk.rows])
                        writer.append(body, chunk.rows, vectors)
                    partial.commit(body, self._written(partial.written, chunk, dict(writer.state)))
                    self.progressed(partial.written)
            writer.finish(partial.body, partial.written.vectors).replace(self.output)
            partial.remove()
        return Outcome(partial.written, earlier_rows)

    def _whole_identity(self) -> dict[str, Any]:
        """What bytes of the output depend on: a field that is added counts by itself."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _MAY_DIFFER}
        chunk = {"chunk_rows": CHUNK_ROWS, "chunk_characters": CHUNK_CHARACTERS}
        return {**self.identity, **own, **chunk}

    def _pass_over(self, partial: PartialFile) -> None:
        """Goes to the row behind the last that an earlier run has done.

        Raises:
            InputError: These are not the rows that it has done.
        """
        written = partial.written
        if written.skipped and not self.skips_bad_rows:
            msg = (
                f"the earlier run skipped {written.skipped:,} bad rows ({written.bad_rows[0]}): "
                f"skip them again, or give {RESTART} to discard what it did"
            )
            raise InputError(msg)
        count = self.rows.skip(written.rows) if written.rows else 0
        if written.rows and (count, self.rows.digest()) != (written.rows, written.digest):
            msg = (
                f"the first {written.rows:,} rows of {self.rows.name} are not those that the "
                f"earlier run encoded: give it the same, or {RESTART} to discard what it did"
            )
            raise InputError(msg)

    def _chunks(self, partial: PartialFile) -> Iterator[Chunk]:
        try:
            yield from chunks(self.rows, skips_bad_rows=self.skips_bad_rows)
        except InputError as error:
            rows = partial.written.rows
            kept = f"; the same command then goes on behind row {rows:,}" if rows else ""
            msg = f"{error}{kept}"
            raise InputError(msg) from None

    def _written(self, before: Written, chunk: Chunk, state: Mapping[str, Any]) -> Written:
        messages = [bad.message for bad in chunk.bad]
        return replace(
            before,
            rows=before.rows + len(chunk.rows) + len(chunk.bad),
            vectors=before.vectors + len(chunk.rows),
            digest=self.rows.digest(),
            skipped=before.skipped + len(chunk.bad),
            bad_rows=[*before.bad_rows, *messages][:BAD_ROWS_SHOWN],
            writer=state,
        )


def chunks(rows: Rows, *, skips_bad_rows: bool = False) -> Iterator[Chunk]:
    """The rows that are left, in chunks.

    Args:
        rows: Where they come from.
        skips_bad_rows: Whether a bad row is put apart, and not an error.

    Raises:
        InputError: A row is bad.
    """
    chunk, characters = Chunk([], []), 0
    for row in rows:
        if isinstance(row, Row):
            chunk.rows.append(row)
        elif skips_bad_rows:
            chunk.bad.append(row)
        else:
            msg = f"{row.message} (mend it, or pass over such rows with --on-bad-row skip)"
            raise InputError(msg)
        characters += row.characters
        if _count(chunk) == CHUNK_ROWS or characters >= CHUNK_CHARACTERS:
            yield chunk
            chunk, characters = Chunk([], []), 0
    if _count(chunk):
        yield chunk


def _count(chunk: Chunk) -> int:
    return len(chunk.rows) + len(chunk.bad)


@contextmanager
def _explained(output: Path, partial: PartialFile) -> Iterator[None]:
    """Tells of a full disk in one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        rows = partial.written.rows
        behind = f", which goes on behind row {rows:,}" if rows else ""
        msg = (
            f"there is no room for {output} ({error.strerror}): free some and give the same "
            f"command again{behind}"
        )
        raise OutputError(msg) from None
