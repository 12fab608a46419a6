"""Texts to token ids, with the `tokenizers` library alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer as _Tokenizer

from lanner.errors import ArtifactError, InputError, InputTypeError
from lanner.manifest import TokenizerRecord


class Tokenizer:
    """The tokenizer of an artifact: adds special tokens, cuts at the checkpoint's own limit.

    Immutable after construction, so any number of threads may use it.

    Args:
        path: A file of the `tokenizers` library.
        record: Its limits, from the manifest.

    Raises:
        ArtifactError: The file cannot be read as a tokenizer.
    """

    def __init__(self, path: Path, record: TokenizerRecord) -> None:
        try:
            tokenizer = _Tokenizer.from_file(str(path))
        except Exception as error:
            msg = f"{path} is not a tokenizer that this version of 'tokenizers' reads: {error}"
            raise ArtifactError(msg) from error
        # Padding is per batch and costs nothing there; see batching.
        tokenizer.no_padding()
        side = (tokenizer.truncation or {}).get("direction", "right")
        tokenizer.enable_truncation(record.max_tokens, direction=side)
        self._tokenizer = tokenizer

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, special tokens included, at most `max_tokens` each.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is a string that is not valid Unicode.
        """
        if not all(isinstance(text, str) for text in texts):
            check_texts(texts)  # the library would take a tuple for a pair of texts
        try:
            if len(texts) == 1:
                # A batch of one would start the library's thread pool for nothing.
                return [self._tokenizer.encode(texts[0]).ids]
            return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(list(texts))]
        except (TypeError, UnicodeEncodeError):  # a lone surrogate: either, by its version
            check_texts(texts)
            raise


def check_texts(texts: Sequence[object]) -> None:
    """Finds the first item that is no text.

    Raises:
        InputTypeError: An item is not a string.
        InputError: An item holds half of a surrogate pair, which UTF-8 cannot say.
    """
    for index, text in enumerate(texts):
        if not isinstance(text, str):
            msg = f"every text must be a str, but the one at index {index} is {_kind(text)}"
            raise InputTypeError(msg)
        try:
            text.encode()
        except UnicodeEncodeError as error:
            msg = (
                f"the text at index {index} is not valid Unicode (a lone surrogate at character "
                f"{error.start}): decode its source with errors='replace'"
            )
            raise InputError(msg) from None


def _kind(value: object) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"


def token_counts(token_ids: Sequence[Sequence[int]]) -> np.ndarray:
    """The length of each text in tokens, int64 [n]."""
    return np.fromiter(map(len, token_ids), dtype=np.int64, count=len(token_ids))
