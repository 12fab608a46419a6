"""Static vectors with the vocabulary of a corpus."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer as _Tokenizer

from lanner.errors import ExportError, InputError
from lanner.text.tokenization import Tokenizer
from lanner.text.words import Vocabulary, WordTokenizer
from lanner_export.graph.lookup import LookupTable
from lanner_export.static.reference import Reference, mean_rows
from lanner_export.static.static_checkpoint import StaticCheckpoint
from lanner_export.trim.tokenizer import trim_tokenizer

_BLOCK_ROWS = 2**14
#: The number of texts of the corpus that are compared before and after.
_COMPARED_TEXTS = 64
#: The most that a component may differ, relative to the largest for vectors longer than 1.
_LARGEST_DIFFERENCE = 1e-4


def trim_static_vocabulary(
    static: StaticCheckpoint, texts: Sequence[str], checkpoint: str, scratch: Path
) -> StaticCheckpoint:
    """Leave out the words or tokens that a corpus never uses, with their rows.

    The framework cannot be the reference of the trimmed table, so numpy computes the same sums; on
    the corpus, both must agree.

    Args:
        static: The checkpoint; it is not changed.
        texts: The corpus, at least one text.
        checkpoint: The name of the checkpoint, for messages.
        scratch: A directory with room for the remaining rows.

    Raises:
        CheckpointError: A special token is not in the vocabulary and would be lost.
        InputError: The vocabulary has no word of the corpus.
        ExportError: The corpus would be split or answered differently.
    """
    tokenizer, old_ids = _trim_tokenizer(static, texts, checkpoint, scratch)
    if not len(old_ids):
        msg = f"{checkpoint} has no word of the corpus: give texts of its language"
        raise InputError(msg)
    table = _trim_table(static.table, old_ids, scratch / "kept-rows")
    trimmed = replace(static, tokenizer=tokenizer, table=table)
    trimmed = replace(trimmed, reference=_reference(trimmed, scratch / "reference.json"))
    compared = list(texts[:: -(-len(texts) // _COMPARED_TEXTS)])
    before, after = static.reference(compared), trimmed.reference(compared)
    if np.abs(before - after).max() > _LARGEST_DIFFERENCE * max(1, np.abs(before).max()):
        msg = (
            f"{checkpoint} would answer the corpus differently with the vocabulary of the corpus "
            "alone: leave --vocabulary-from out"
        )
        raise ExportError(msg)
    return trimmed


def _trim_tokenizer(
    static: StaticCheckpoint, texts: Sequence[str], checkpoint: str, scratch: Path
) -> tuple[Path | Vocabulary, NDArray[np.int64]]:
    path = scratch / "vocabulary.json"
    record = static.write_tokenizer(path)
    if isinstance(static.tokenizer, Vocabulary):
        # A word is looked up as written, then without punctuation, then in lower case: forms that
        # were found are kept, so the same forms are found again.
        words_of = WordTokenizer.of(path, replace(record, max_tokens=None))
        used = {row for ids in words_of.encode(texts) for row in ids}
        old_ids = np.array(sorted(used), np.int64)
        words = static.tokenizer.words
        return replace(static.tokenizer, words=[words[row] for row in old_ids]), old_ids
    trimmed = trim_tokenizer(_Tokenizer.from_file(str(path)), texts, checkpoint)
    trimmed.tokenizer.save(str(path))
    return path, trimmed.old_ids


def _trim_table(table: LookupTable, old_ids: NDArray[np.int64], path: Path) -> LookupTable:
    rows, mapping = old_ids, None
    if table.mapping is not None:
        rows, mapping = np.unique(table.mapping[old_ids], return_inverse=True)
    whole = table.rows.array()
    with path.open("wb") as file:
        for start in range(0, len(rows), _BLOCK_ROWS):
            file.write(whole[rows[start : start + _BLOCK_ROWS]].tobytes())
    return replace(
        table,
        rows=replace(table.rows, path=path, shape=(len(rows), table.rows.shape[1]), offset_bytes=0),
        weights=None if table.weights is None else table.weights[old_ids],
        mapping=mapping,
        ignored_ids=tuple(np.flatnonzero(np.isin(old_ids, table.ignored_ids)).tolist()),
    )


def _reference(static: StaticCheckpoint, path: Path) -> Reference:
    record = static.write_tokenizer(path)
    tokenizer: WordTokenizer | Tokenizer = (
        WordTokenizer.of(path, record) if record.kind == "words" else Tokenizer(path, record)
    )
    return lambda texts: mean_rows(static.table, tokenizer.encode(texts))
