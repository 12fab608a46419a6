"""Texts to word ids, by looking whole words up: what static word vectors take.

It answers as the `WhitespaceTokenizer` of sentence-transformers does, quirks included, because
that is what its checkpoints were made with.
"""

import json
import string
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanner.errors import ArtifactError
from lanner.text.tokenization import check_texts

#: What `type` says in the file of a word tokenizer.
TYPE = "lanner-words"


@dataclass(frozen=True)
class Vocabulary:
    """The words that have a row in a table, and how a text is split into them.

    Attributes:
        words: The words in the order of their rows. Of equal ones, the last is the one that counts.
        stop_words: Words that are passed over.
        do_lower_case: Whether texts are lower-cased first.
    """

    words: list[str]
    stop_words: frozenset[str] = frozenset()
    do_lower_case: bool = False

    def write(self, path: Path) -> None:
        """Writes the file that `WordTokenizer` reads: UTF-8 JSON."""
        content = {
            "type": TYPE,
            "do_lower_case": self.do_lower_case,
            "stop_words": sorted(self.stop_words),
            "words": self.words,
        }
        path.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


class WordTokenizer:
    """Looks whole words up; a word that is not in the vocabulary gives no token.

    Immutable after construction, so any number of threads may use it.

    Args:
        path: A file that `Vocabulary.write` wrote.
        max_tokens: Most ids of a text; what comes after is cut. None for no limit.

    Raises:
        ArtifactError: The file cannot be read as a vocabulary.
    """

    def __init__(self, path: Path, max_tokens: int | None = None) -> None:
        vocabulary = _read(path)
        self._ids = {word: row for row, word in enumerate(vocabulary.words)}
        self._stop_words = vocabulary.stop_words
        self._do_lower_case = vocabulary.do_lower_case
        self._max_tokens = max_tokens

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The ids of the known words of each text, at most `max_tokens` each.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is a string that is not valid Unicode.
        """
        check_texts(texts)
        return [self._encode(text) for text in texts]

    def count_prompt_tokens(self, prompt: str) -> int:
        """See `lanner.text.tokenization.TextTokenizer`."""
        return len(self._encode(prompt))

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in (text.lower() if self._do_lower_case else text).split():
            if len(ids) == self._max_tokens:
                break
            row = self._row(word)
            if row is not None:
                ids.append(row)
        return ids

    def _row(self, word: str) -> int | None:
        """The row of a word as it stands, else without punctuation, else in lower case too."""
        if word in self._stop_words:
            return None
        row = self._ids.get(word)
        if row is not None:
            return row
        bare = word.strip(string.punctuation)
        if bare in self._stop_words:
            return None
        # Of punctuation alone nothing is left, which is no word, but only until the last step.
        row = self._ids.get(bare) if bare else None
        if row is not None:
            return row
        lowered = bare.lower()
        return None if lowered in self._stop_words else self._ids.get(lowered)


def _read(path: Path) -> Vocabulary:
    try:
        content = json.loads(path.read_bytes())
        problem = _problem(content)
    except FileNotFoundError:
        problem = "there is no such file"
    except (OSError, ValueError, RecursionError) as error:
        problem = str(error)
    if problem:
        msg = f"{path} is not a vocabulary of words that Lanner wrote: {problem}"
        raise ArtifactError(msg)
    return Vocabulary(
        content["words"], frozenset(content["stop_words"]), bool(content["do_lower_case"])
    )


def _problem(content: Any) -> str:
    """Return the first fault of the file in words, or an empty string."""
    if not isinstance(content, dict) or content.get("type") != TYPE:
        return f"its 'type' is not {TYPE!r}"
    for name in ("words", "stop_words"):
        words = content.get(name)
        # A set of types, because a loop over 400,000 words would be most of the time to load.
        if not isinstance(words, list) or set(map(type, words)) - {str}:
            return f"{name!r} is not a list of words"
    if not isinstance(content.get("do_lower_case"), bool):
        return "'do_lower_case' is neither true nor false"
    return ""
