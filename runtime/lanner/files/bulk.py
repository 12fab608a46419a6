"""Bulk encoding: files of any size to vectors, chunk by chunk, in one run or several.

A chunk is a fixed number of rows, encoded by one call: the batch of a text may change the last bits
of its vector, so chunks must be the same in every run. After a kill the next run continues behind
the last complete chunk, and the output is the same, byte for byte, as that of a single run.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from lanner.errors import InputError, OutputError
from lanner.files.partial import RESTART, PartialFile, Written, partial_file
from lanner.files.rows import BadRow, Row, Rows
from lanner.files.staging import NO_ROOM, require_output_file, staged_file
from lanner.files.vector_file import Layout, Vectors
from lanner.files.vector_formats import FORMATS, vector_file
from lanner.models.base import TEXTS_AT_ONCE
from lanner.vectors.origin import Origin, path_of

#: The most rows and characters of a chunk; the second bounds the memory for long texts.
CHUNK_ROWS = TEXTS_AT_ONCE
CHUNK_CHARACTERS = 2**24
#: The number of bad rows whose messages are kept.
BAD_ROWS_SHOWN = 5
#: Fields of `Bulk` in which a resumed run may differ from the earlier one: the rows are compared by
#: their digest, `identity`, which has the origin, is handled separately, and the others change no
#: byte of a vector.
_MAY_DIFFER = frozenset(
    {
        *("rows", "encode", "json_of", "output", "identity", "origin", "skips_bad_rows"),
        *("restart", "progressed", "count_cut"),
    }
)


class Chunk(NamedTuple):
    """Rows that are encoded together, and the bad rows among them."""

    rows: list[Row]
    bad: list[BadRow]


class Outcome(NamedTuple):
    """The result of a run.

    Attributes:
        written: The content of the output.
        earlier_rows: The number of rows that earlier runs had read.
    """

    written: Written
    earlier_rows: int


@dataclass(frozen=True)
class Bulk:
    """A job that encodes one file into another.

    Attributes:
        rows: The input, unread.
        encode: Turns texts into vectors [n, width].
        output: The file to write, with one of `lanner.files.vector_formats.FORMATS`.
        identity: The other settings that the vectors depend on, as JSON: an earlier run with
            another identity cannot be continued.
        origin: What makes the vectors: written into the output, or beside it.
        with_text: Write the texts, too.
        skips_bad_rows: Skip bad rows instead of failing.
        restart: Discard the results of an earlier run.
        count_cut: Counts the texts that `encode` cuts; None if nobody asks.
        json_of: Turns a vector into JSON; None for a list of its numbers.
        progressed: Called with the progress: after skipping rows of earlier runs, and after each
            chunk.
    """

    rows: Rows
    encode: Callable[[list[str]], Vectors]
    output: Path
    identity: Mapping[str, Any] = field(default_factory=dict)
    origin: Origin | None = None
    with_text: bool = True
    skips_bad_rows: bool = False
    restart: bool = False
    count_cut: Callable[[list[str]], int] | None = None
    json_of: Callable[[Any], Any] | None = None
    progressed: Callable[[Written], None] = lambda _: None

    def run(self) -> Outcome:
        """Write the output; the file appears when it is complete.

        Raises:
            InputError: A row is bad, the input changed, or the output cannot be written.
            OutputError: The disk is full, or an earlier run had another identity. Finished chunks
                are kept in any case.
        """
        require_output_file(self.output)
        layout = Layout(self.rows, self.encode([]), self.with_text, self.origin)
        if self.json_of is not None:
            layout = replace(layout, json_of=self.json_of)
        writer = vector_file(self.output.suffix, layout)
        with partial_file(self.output) as partial, _explained(self.output, partial):
            partial.recall(self._whole_identity(), restart=self.restart)
            self._pass_over(partial)
            earlier_rows = partial.written.rows
            self.progressed(partial.written)
            with partial.opened() as body:
                if earlier_rows:
                    if not writer.takes(partial.written.writer):
                        partial.refuse()
                    writer.state.update(partial.written.writer)
                else:
                    writer.start(body)
                    if writer.rewrites_start:
                        partial.leave_unchecked(body)
                for chunk in self._chunks(partial):
                    cut = 0
                    if chunk.rows:
                        column = self.rows.columns.texts[0]
                        texts = [row.values[column] for row in chunk.rows]
                        vectors = self.encode(texts)
                        cut = 0 if self.count_cut is None else self.count_cut(texts)
                        writer.append(body, chunk.rows, vectors)
                    now = self._written(partial.written, chunk, dict(writer.state))
                    partial.commit(body, replace(now, cut=now.cut + cut))
                    self.progressed(partial.written)
            self._put(writer.finish(partial.body, partial.written.vectors))
            partial.remove()
        return Outcome(partial.written, earlier_rows)

    def _put(self, whole: Path) -> None:
        """Put the finished file in its place, and beside it what made its vectors."""
        beside = path_of(self.output)
        beside.unlink(missing_ok=True)  # that of an earlier output
        whole.replace(self.output)
        if self.origin is not None and not FORMATS[self.output.suffix].names_origin:
            with staged_file(beside) as file:
                file.write(self.origin.to_bytes())

    def _whole_identity(self) -> dict[str, Any]:
        """Return the settings that the output depends on; new fields of the class are included."""
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _MAY_DIFFER}
        chunk = {"chunk_rows": CHUNK_ROWS, "chunk_characters": CHUNK_CHARACTERS}
        return {**self.identity, **own, **chunk}

    def _pass_over(self, partial: PartialFile) -> None:
        """Skip the rows of earlier runs.

        Raises:
            InputError: The rows differ from those of the earlier run.
        """
        written = partial.written
        if written.skipped and not self.skips_bad_rows:
            msg = (
                f"the earlier run skipped {written.skipped:,} bad rows ({written.bad_rows[0]}): "
                f"skip them again, or use {RESTART} to discard its results"
            )
            raise InputError(msg)
        count = self.rows.skip(written.rows) if written.rows else 0
        if written.rows and (count, self.rows.digest()) != (written.rows, written.digest):
            msg = (
                f"the first {written.rows:,} rows of {self.rows.name} are not those that the "
                f"earlier run encoded: use the same input, or {RESTART} to discard its results"
            )
            raise InputError(msg)

    def _chunks(self, partial: PartialFile) -> Iterator[Chunk]:
        try:
            yield from chunks(self.rows, skips_bad_rows=self.skips_bad_rows)
        except InputError as error:
            rows = partial.written.rows
            kept = f"; the same command then continues behind row {rows:,}" if rows else ""
            msg = f"{error}{kept}"
            raise InputError(msg) from None

    def _written(self, before: Written, chunk: Chunk, state: dict[str, Any]) -> Written:
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
    """Yield the remaining rows in chunks.

    Args:
        rows: The rows.
        skips_bad_rows: Put bad rows apart instead of failing.

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
            msg = f"{row.message} (fix it, or skip bad rows with --on-bad-row skip)"
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
    """Turn the error of a full disk into one sentence."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        rows = partial.written.rows
        behind = f", which continues behind row {rows:,}" if rows else ""
        msg = (
            f"there is no room for {output} ({error.strerror}): free space and run the same "
            f"command again{behind}"
        )
        raise OutputError(msg) from None
