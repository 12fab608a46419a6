"""Cut texts to a model's limit, from either end or not at all, and say which were cut."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from tokenizers import Encoding

from lanner.errors import InputError, UnsupportedError
from lanner.text.tokenization import Pair, TextTokenizer, Tokenizer
from lanner.text.words import WordTokenizer

#: The end that long texts lose: None for the checkpoint's choice, ``"no"`` to refuse them.
Cut = Literal["left", "right", "no"] | None


class CutTexts(NamedTuple):
    """The tokens of texts or pairs.

    Attributes:
        token_ids: The token ids of each.
        type_ids: The text of a pair that each token belongs to, or None if they are not needed.
        cut: Indices of those that were cut.
    """

    token_ids: list[list[int]]
    type_ids: list[list[int]] | None
    cut: list[int]


class TooLongError(InputError):
    """A text has more tokens than the model reads, and must not be cut.

    Attributes:
        index: The index of the text.
    """

    def __init__(self, index: int, tokens: int, most: int | None, *, is_known: bool) -> None:
        how_many = f"{tokens:,}" if is_known else f"at least {tokens:,}"
        super().__init__(
            f"the text at index {index} has {how_many} tokens, and the model reads at most "
            f"{most:,}: shorten it, or allow that it is cut"
        )
        self.index = index


@dataclass
class Cutter:
    """A model's tokenizer, for each end that a text may lose. Any number of threads may use it.

    Attributes:
        tokenizer: The tokenizer as the checkpoint has it.
    """

    tokenizer: TextTokenizer
    _others: dict[str, Tokenizer] = field(default_factory=dict)

    def cut(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False, end: Cut = None
    ) -> CutTexts:
        """Return the tokens of texts or pairs, and which were cut.

        Args:
            inputs: Texts or pairs; in a pair the longer text is cut first.
            with_types: True if the `type_ids` are needed.
            end: The end that a long text loses.

        Raises:
            TooLongError: `end` is ``"no"``, and a text is too long.
            InputTypeError: An item is neither a text nor a pair; the message names its index.
            InputError: An item is not valid Unicode.
            UnsupportedError: The tokenizer is not here, but on a server.
        """
        if isinstance(self.tokenizer, WordTokenizer):
            return self._cut_words(inputs, self.tokenizer, end)
        if not isinstance(self.tokenizer, Tokenizer):
            msg = "the server tokenises the texts of this model: connect to its token model"
            raise UnsupportedError(msg)
        tokenizer = self._cutting(self.tokenizer, end)
        most = tokenizer.max_characters
        texts, shortened = inputs, set[int]()
        if most is not None:
            texts = [text[:most] if isinstance(text, str) else text for text in inputs]
            shortened = {
                i for i, text in enumerate(inputs) if isinstance(text, str) and len(text) > most
            }
        encodings = tokenizer.encode_pairs(texts, with_types=with_types)
        cut = [i for i, one in enumerate(encodings) if one.overflowing or i in shortened]
        if cut and end == "no":
            raise _too_long(cut[0], encodings[cut[0]], tokenizer, inputs[cut[0]])
        return CutTexts(
            [one.ids for one in encodings],
            [one.type_ids for one in encodings] if with_types else None,
            cut,
        )

    def _cutting(self, tokenizer: Tokenizer, end: Cut) -> Tokenizer:
        if end is None or end == "no" or (end == "left") == tokenizer.cuts_left:
            return tokenizer
        if end not in self._others:
            self._others[end] = tokenizer.cutting(end)
        return self._others[end]

    def _cut_words(
        self, inputs: Sequence[str | Pair], tokenizer: WordTokenizer, end: Cut
    ) -> CutTexts:
        texts = [text for text in inputs if isinstance(text, str)]
        if len(texts) < len(inputs):
            msg = "the model takes texts, not pairs"
            raise InputError(msg)
        if end == "left":
            msg = "the model reads words up to its limit: long texts can lose their end only"
            raise UnsupportedError(msg)
        most = tokenizer.max_tokens
        if most is None:
            return CutTexts(tokenizer.encode(texts), None, [])
        longer = copy(tokenizer)
        longer.max_tokens = most + 1
        found = longer.encode(texts)
        cut = [index for index, ids in enumerate(found) if len(ids) > most]
        if cut and end == "no":
            raise TooLongError(cut[0], most + 1, most, is_known=False)
        return CutTexts([ids[:most] for ids in found], None, cut)


def _too_long(
    index: int, encoding: Encoding, tokenizer: Tokenizer, text: str | Pair
) -> TooLongError:
    """Return the error for one text; the tokens of a very long text were not all counted."""
    special = sum(encoding.special_tokens_mask)
    tokens = len(encoding.ids) + sum(len(more.ids) - special for more in encoding.overflowing)
    parts = (text,) if isinstance(text, str) else text
    is_known = not any(tokenizer.is_long(part) for part in parts) and bool(encoding.overflowing)
    return TooLongError(index, tokens, tokenizer.max_tokens, is_known=is_known)
