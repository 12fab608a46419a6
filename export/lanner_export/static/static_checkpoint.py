"""A checkpoint of static vectors, in the form that its export needs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import Segmenter, TokenizerRecord, WordParts
from lanner.text.words import Vocabulary
from lanner_export.checkpoint.modules import read_json
from lanner_export.graph.lookup import LookupTable
from lanner_export.static.reference import Reference

MODEL2VEC = "model2vec"
SENTENCE_TRANSFORMERS = "sentence-transformers"
WORD_VECTORS = "word vectors"


@dataclass(frozen=True)
class StaticCheckpoint:
    """A checkpoint of static vectors, read but not loaded.

    Attributes:
        library: `MODEL2VEC`, `SENTENCE_TRANSFORMERS` or `WORD_VECTORS`.
        kind: ``"model2vec"``, ``"StaticEmbedding"``, ``"WordEmbeddings"``, or the format of a file.
        tokenizer: A file of the `tokenizers` library, used without special tokens, or the words.
        table: The table; unknown words that do not count are its `ignored_ids`.
        max_tokens: Longest input, or None for no limit.
        max_characters: The length that model2vec cuts a text to before splitting it, or None.
        reference: The checkpoint in its own framework, loaded at the first call.
        prompts: The named prompts.
        default_prompt_name: The prompt that is used by default, or None.
        similarity: The similarity that it was trained for.
        parts: How unknown words are made of parts; None if they are not.
        segmenter: What finds the words of a text; None for blanks.
        sif: How its words are weighed, for the manifest; None if all count the same.
        warnings: Sentences that the user should read.
    """

    library: str
    kind: str
    tokenizer: Path | Vocabulary
    table: LookupTable
    max_tokens: int | None
    max_characters: int | None
    reference: Reference
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    similarity: str = "cosine"
    parts: WordParts | None = None
    segmenter: Segmenter | None = None
    sif: dict[str, Any] | None = None
    warnings: Sequence[str] = ()

    @property
    def dimension(self) -> int:
        """Width of the vectors."""
        return self.table.dimension

    def write_tokenizer(self, path: Path) -> TokenizerRecord:
        """Write its tokenizer, for `lanner.text.tokenization` or for `lanner.text.words`."""
        record = TokenizerRecord(
            file=path.name,
            max_tokens=self.max_tokens,
            pad_token_id=0,  # the mask marks padding, so any row of the table will do
            max_characters=self.max_characters,
        )
        if isinstance(self.tokenizer, Vocabulary):
            self.tokenizer.write(path)
            return replace(record, kind="words", parts=self.parts, segmenter=self.segmenter)
        content = read_json(self.tokenizer, "a static checkpoint needs its tokenizer")
        # Static vectors take no special tokens, which only the post-processor adds.
        content.update(post_processor=None, padding=None)
        if self.library == MODEL2VEC:
            content["truncation"] = None  # it cuts on the right, whatever its tokenizer's settings
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return record
