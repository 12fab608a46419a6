"""Word tokenizer of static word vectors: texts to the ids of words, or of the parts of words.

Without parts, it gives the same ids as the `WhitespaceTokenizer` of sentence-transformers, quirks
included, because the checkpoints were made with it. With parts, it gives those of FastText.
"""

import json
import logging
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import TokenizerRecord, WordParts
from lanner.errors import ArtifactError
from lanner.text.segmentation import Segment, open_segmenter
from lanner.text.tokenization import check_texts
from lanner.text.word_boundaries import lacks_blanks
from lanner.text.word_parts import part_ids

#: The value of `type` in the file of a word tokenizer.
TYPE = "lanner-words"
_WORDS = re.compile(r"\S+")
#: Unknown words whose parts are remembered.
_REMEMBERED_WORDS = 2**14
_log = logging.getLogger("lanner")


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a row in a table, and the rules for splitting texts into words.

    Attributes:
        words: The words in the order of their rows. The last of equal words counts.
        stop_words: Words that are skipped.
        do_lower_case: True if texts are lower-cased first.
    """

    words: list[str]
    stop_words: frozenset[str] = frozenset()
    do_lower_case: bool = False

    def write(self, path: Path) -> None:
        """Write the file that `WordTokenizer` reads: UTF-8 JSON."""
        content = {
            "type": TYPE,
            "do_lower_case": self.do_lower_case,
            "stop_words": sorted(self.stop_words),
            "words": self.words,
        }
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


class WordTokenizer:
    """A tokenizer that looks up whole words; unknown words give the ids of their parts, or none.

    Any number of threads may use it. It logs once that a text cannot be split.

    Args:
        path: A file that `Vocabulary.write` wrote.
        max_tokens: The most ids of a text; later ones are dropped. None for no limit.
        parts: How unknown words are made of parts. A word is then looked up as it is written alone,
            as FastText does. None if unknown words have no parts.
        segment: Yields the words of a text; None to split at white space.

    Raises:
        ArtifactError: The file cannot be read as a vocabulary.
    """

    def __init__(
        self,
        path: Path,
        max_tokens: int | None = None,
        *,
        parts: WordParts | None = None,
        segment: Segment | None = None,
    ) -> None:
        vocabulary = _read(path)
        #: The words by their ids.
        self.words = vocabulary.words
        self._ids = {word: row for row, word in enumerate(vocabulary.words)}
        self._stop_words = vocabulary.stop_words
        self._do_lower_case = vocabulary.do_lower_case
        self._segment = _split if segment is None else segment
        self._part_ids = None
        if parts is not None:
            find = partial(part_ids, parts=parts, words=len(vocabulary.words))
            self._part_ids = lru_cache(_REMEMBERED_WORDS)(find)
        self.max_tokens = max_tokens
        self.max_characters: int | None = None
        self._has_warned = segment is not None

    @classmethod
    def of(cls, path: Path, record: TokenizerRecord) -> "WordTokenizer":
        """Open the tokenizer of a manifest.

        Raises:
            ArtifactError: The file cannot be read, or the segmenter here is another one.
            MissingExtraError: The segmenter is not installed.
        """
        segment = None if record.segmenter is None else open_segmenter(record.segmenter)
        return cls(path, record.max_tokens, parts=record.parts, segment=segment)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Return the ids of the words of each text, at most `max_tokens` each.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is a string that is not valid Unicode.
        """
        check_texts(texts)
        found = [self._encode(text) for text in texts]
        if not self._has_warned:
            words = len(self.words)
            lacking = (
                text
                for text, ids in zip(texts, found, strict=True)
                if not any(one < words for one in ids)
            )
            if any(map(lacks_blanks, lacking)):
                self._has_warned = True
                _log.warning(
                    "a text without blanks between its words, such as Chinese or Thai, has none of "
                    "the words of this table: split it into words first, or export the table with "
                    "--segment jieba if it is Chinese"
                )
        return found

    def count_prompt_tokens(self, prompt: str) -> int:
        """Return the number of known words; see `lanner.text.tokenization.TextTokenizer`."""
        return len(self._encode(prompt))

    def count_special_tokens(self, *, is_pair: bool = False) -> int:
        """Return 0: the model reads words alone; see `lanner.text.tokenization.Tokenizer`."""
        return 0

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        # One word after the other: a long text is read up to the limit.
        for found in self._segment(text):
            if self.max_tokens is not None and len(ids) >= self.max_tokens:
                break
            word = found.lower() if self._do_lower_case else found
            if self._part_ids is not None:
                ids.extend(self._ids_with_parts(word))
            elif (row := self._row(word)) is not None:
                ids.append(row)
        return ids if self.max_tokens is None else ids[: self.max_tokens]

    def _ids_with_parts(self, word: str) -> tuple[int, ...]:
        if word in self._stop_words or self._part_ids is None:
            return ()
        row = self._ids.get(word)
        if row is not None:
            return (row,)
        return () if word.isspace() else self._part_ids(word)

    def _row(self, word: str) -> int | None:
        """Return the row of a word: as written, without punctuation, or also in lower case."""
        if word in self._stop_words:
            return None
        row = self._ids.get(word)
        if row is not None:
            return row
        bare = word.strip(string.punctuation)
        if bare in self._stop_words:
            return None
        # A word of punctuation alone becomes empty. The empty word is skipped in this step only.
        row = self._ids.get(bare) if bare else None
        if row is not None:
            return row
        lowered = bare.lower()
        return None if lowered in self._stop_words else self._ids.get(lowered)


def _split(text: str) -> Iterator[str]:
    """Yield the words of a text, as `str.split` finds them."""
    return (found[0] for found in _WORDS.finditer(text))


def _read(path: Path) -> Vocabulary:
    try:
        content = json.loads(path.read_bytes())
        problem = _problem(content)
    except FileNotFoundError:
        problem = "the file does not exist"
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    if problem:
        msg = f"{path} is not a word vocabulary of Lanner: {problem}"
        raise ArtifactError(msg)
    return Vocabulary(
        content["words"], frozenset(content["stop_words"]), bool(content["do_lower_case"])
    )


def _problem(content: Any) -> str:
    """Return a description of the file's first fault, or an empty string."""
    if not isinstance(content, dict) or content.get("type") != TYPE:
        return f"its 'type' is not {TYPE!r}"
    for name in ("words", "stop_words"):
        words = content.get(name)
        # A set of types: a Python loop over 400,000 words would dominate the loading time.
        if not isinstance(words, list) or set(map(type, words)) - {str}:
            return f"{name!r} is not a list of words"
    if not isinstance(content.get("do_lower_case"), bool):
        return "'do_lower_case' is neither true nor false"
    return ""
