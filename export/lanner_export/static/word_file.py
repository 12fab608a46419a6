"""Reading a file of word vectors as a checkpoint."""

from pathlib import Path
from typing import Any

from lanner.artifact.manifest import Segmenter
from lanner.text.segmentation import open_segmenter
from lanner.text.words import Vocabulary, WordTokenizer
from lanner_export.graph.lookup import LookupTable
from lanner_export.static.reference import Reference, parts_reference, word_vectors_reference
from lanner_export.static.static_checkpoint import WORD_VECTORS, StaticCheckpoint
from lanner_export.static.weighting import weighted_table
from lanner_export.static.word_options import Sif, WordOptions, chosen_segmenter
from lanner_export.static.word_vectors import WordVectors, read_word_vectors


def read_words(
    path: Path, rows: Path, max_tokens: int | None, options: WordOptions
) -> StaticCheckpoint:
    """Read a file of word vectors; see `lanner_export.static.reading.read_static_checkpoint`."""
    vectors = read_word_vectors(path, rows)
    segmenter, warnings = chosen_segmenter(vectors.words, options, path.name)
    if vectors.left_out:
        warnings.append(
            f"{vectors.left_out:,} words of {path} are left out, because they are not UTF-8: no "
            "text has them"
        )
    table = LookupTable(vectors.matrix, has_parts=vectors.parts is not None)
    if options.sif is not None:
        table = _weighted(table, vectors, segmenter, options.sif, path.name)
    return StaticCheckpoint(
        library=WORD_VECTORS,
        kind=vectors.format,
        tokenizer=Vocabulary(vectors.words),
        parts=vectors.parts,
        segmenter=segmenter,
        table=table,
        max_tokens=max_tokens,
        max_characters=None,
        reference=_reference(vectors, table, max_tokens, segmenter),
        sif=None if options.sif is None else _record(options.sif),
        warnings=warnings,
    )


def _weighted(
    table: LookupTable, vectors: WordVectors, segmenter: Segmenter | None, sif: Sif, name: str
) -> LookupTable:
    path = vectors.rows.with_name("words.json")
    Vocabulary(vectors.words).write(path)
    segment = None if segmenter is None else open_segmenter(segmenter)
    tokenizer = WordTokenizer(path, parts=vectors.parts, segment=segment)
    return weighted_table(table, tokenizer.encode, sif, name)


def _record(sif: Sif) -> dict[str, Any]:
    return {
        "texts": sif.corpus.name,
        "smoothing": sif.smoothing,
        "removes_component": sif.removes_component,
    }


def _reference(
    vectors: WordVectors, table: LookupTable, most: int | None, segmenter: Segmenter | None
) -> Reference:
    segment = None if segmenter is None else open_segmenter(segmenter)
    if vectors.parts is None:
        return word_vectors_reference(vectors.words, table, most, segment)
    return parts_reference(vectors.words, table, vectors.parts, most, segment)
