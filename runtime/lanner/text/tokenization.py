"""Texts to token ids, with the `tokenizers` library alone."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from tokenizers import Encoding
from tokenizers import Tokenizer as _Tokenizer

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import ArtifactError, InputError, InputTypeError

Pair = tuple[str, str]


class TextTokenizer(Protocol):
    """The protocol of all tokenizers: single texts to token ids."""

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            InputError: An item is a string that is not valid Unicode.
        """

    def count_prompt_tokens(self, prompt: str) -> int:
        """The tokens that a text begins with when it has this prompt before it."""


class Tokenizer:
    """A tokenizer of the `tokenizers` library: special tokens, the checkpoint's own limit.

    Immutable after construction, so any number of threads may use it.

    Args:
        path: A file of the `tokenizers` library.
        record: Its limits, from the manifest.
        overlap_tokens: What `windows` repeats of a window in the next one.

    Raises:
        ArtifactError: The file cannot be read as a tokenizer.
    """

    def __init__(self, path: Path, record: TokenizerRecord, *, overlap_tokens: int = 0) -> None:
        try:
            tokenizer = _Tokenizer.from_file(str(path))
        except Exception as error:
            msg = f"{path} is not a tokenizer that this version of 'tokenizers' reads: {error}"
            raise ArtifactError(msg) from error
        # Padding is per batch and costs nothing there; see batching.
        tokenizer.no_padding()
        side = (tokenizer.truncation or {}).get("direction", "right")
        #: Whether what is too long loses its beginning, so that `windows` begin at its end.
        self.cuts_left = side == "left"
        if record.max_tokens is None:
            tokenizer.no_truncation()
        else:
            tokenizer.enable_truncation(record.max_tokens, stride=overlap_tokens, direction=side)
        self._tokenizer = tokenizer
        self._has_no_pool = False
        self.unknown_token_id = record.unknown_token_id
        self._max_characters = record.max_characters
        self.overlap_tokens = overlap_tokens

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """See `TextTokenizer.encode`; at most `max_tokens` of each."""
        if not all(isinstance(text, str) for text in texts):
            check_texts(texts)  # the library would take a tuple for a pair of texts
        if self._max_characters is not None:
            texts = [text[: self._max_characters] for text in texts]
        return [encoding.ids for encoding in self._encode(texts, check_texts)]

    def encode_pairs(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False
    ) -> list[Encoding]:
        """Tokens of texts or pairs; of a pair that is too long, the longer text is cut first.

        Args:
            inputs: The texts or pairs.
            with_types: Whether their `type_ids` are needed.

        Raises:
            InputTypeError: An item is neither; the message names its index.
            InputError: An item is not valid Unicode.
        """
        found = [_texts_of(item, index) for index, item in enumerate(inputs)]
        # The library takes a tuple for a pair.
        pairs = [texts[0] if len(texts) == 1 else texts for texts in found]
        return self._encode(pairs, check_texts_or_pairs, is_fast=not with_types)

    def windows(self, texts: Sequence[str]) -> list[list[Encoding]]:
        """Each text as one or more overlapping windows of at most `max_tokens`.

        First comes what is left of a text that is cut, and then what was cut off, going away from
        it: in the order of the text, or against it where `cuts_left`.

        The texts must have passed `check_texts`.
        """
        if len(texts) == 1:
            encodings = [self._tokenizer.encode(texts[0])]
        else:
            encodings = self._all(self._tokenizer.encode_batch, texts)
        return [[encoding, *encoding.overflowing] for encoding in encodings]

    def count_prompt_tokens(self, prompt: str) -> int:
        """See `TextTokenizer.count_prompt_tokens`; an ending special token is not of the prompt."""
        encoding = self._encode([prompt], check_texts)[0]
        return len(encoding.ids) - (encoding.special_tokens_mask[-1:] == [1])

    @property
    def marks_continuations(self) -> bool:
        """True if the pieces after the first of a word are marked, as WordPiece does with "##"."""
        return bool(getattr(self._tokenizer.model, "continuing_subword_prefix", None))

    def _all(
        self, encode: Callable[[list[Any]], list[Encoding]], inputs: Sequence[str | Pair]
    ) -> list[Encoding]:
        if not self._has_no_pool:
            try:
                return encode(list(inputs))
            except BaseException as error:
                # The library's thread pool could not be started, and never will be in this process.
                if type(error).__name__ != "PanicException":
                    raise
                self._has_no_pool = True
        pairs = [(one, None) if isinstance(one, str) else one for one in inputs]
        return [self._tokenizer.encode(text, pair) for text, pair in pairs]

    def _encode(
        self, inputs: Sequence[str | Pair], check: "_Check", *, is_fast: bool = True
    ) -> list[Encoding]:
        try:
            if len(inputs) == 1:
                # A batch of one would start the library's thread pool for nothing.
                one = inputs[0]
                text, pair = (one, None) if isinstance(one, str) else one
                return [self._tokenizer.encode(text, pair)]
            # The fast form leaves out the offsets and, without a post-processor, the types.
            encode = self._tokenizer.encode_batch_fast if is_fast else self._tokenizer.encode_batch
            return self._all(encode, inputs)
        except (TypeError, UnicodeEncodeError):  # a lone surrogate: either, by its version
            check(inputs)
            raise


class _Check(Protocol):
    def __call__(self, inputs: Sequence[object]) -> None: ...


def check_texts(inputs: Sequence[object]) -> None:
    """Finds the first item that is no text.

    Raises:
        InputTypeError: An item is not a string.
        InputError: An item holds half of a surrogate pair, which UTF-8 cannot say.
    """
    for index, text in enumerate(inputs):
        if not isinstance(text, str):
            msg = f"every text must be a str, but the one at index {index} is {_kind(text)}"
            raise InputTypeError(msg)
        _check_unicode(text, index)


def check_texts_or_pairs(inputs: Sequence[object]) -> None:
    """Finds the first item that is neither a text nor a pair of them.

    Raises:
        InputTypeError: An item is neither.
        InputError: An item holds half of a surrogate pair, which UTF-8 cannot say.
    """
    for index, item in enumerate(inputs):
        for text in _texts_of(item, index):
            _check_unicode(text, index)


def _texts_of(item: object, index: int) -> tuple[str] | Pair:
    if isinstance(item, str):
        return (item,)
    if isinstance(item, (list, tuple)) and len(item) == 2 and all(isinstance(t, str) for t in item):
        return (item[0], item[1])
    what = _kind(item)
    if isinstance(item, (list, tuple)):
        what += f" with {len(item)} items: {', '.join(type(part).__name__ for part in item)}"
    msg = f"every input must be a str or a pair of them, but the one at index {index} is {what}"
    raise InputTypeError(msg)


def _check_unicode(text: str, index: int) -> None:
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
