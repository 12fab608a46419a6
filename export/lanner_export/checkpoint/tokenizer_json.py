"""The JSON of a tokenizer of the `tokenizers` library, for removing tokens."""

import json
from collections.abc import Iterator, Set
from typing import Any

from tokenizers import Tokenizer

_Json = dict[str, Any]


class TokenizerJson:
    """The content of a `tokenizer.json`.

    Attributes:
        model: The part that splits words: `type`, `vocab` and other fields of the type.
        pieces: The pieces of words, by id.
        added: The added tokens, special ones or not, by id; some or all of them may be among the
            pieces, too.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._content: _Json = json.loads(tokenizer.to_str())
        self.model: _Json = self._content["model"]
        vocabulary = self.model["vocab"]
        self.pieces: dict[int, str] = (
            {number: piece for number, (piece, _) in enumerate(vocabulary)}
            if isinstance(vocabulary, list)
            else {number: piece for piece, number in vocabulary.items()}
        )
        self.added = {int(token["id"]): str(token["content"]) for token in self._added()}

    def special_tokens(self) -> list[tuple[str, int | None]]:
        """Return all special tokens with their ids; None for the id of a missing token.

        They are the added tokens, those that the post-processor puts around a text, and the unknown
        token.
        """
        tokens: list[tuple[str, int | None]] = [(t, number) for number, t in self.added.items()]
        tokens += [(name, ids[i]) for name, ids, i in _id_places(self._content["post_processor"])]
        if (unknown := self.model.get("unk_token")) is not None:
            number = self.model["vocab"].get(unknown)
            # BPE over bytes never needs it, so it may be missing from the pieces.
            if number is None and "merges" in self.model:
                number = next((added for added, t in self.added.items() if t == unknown), None)
            tokens.append((unknown, number))
        if (unknown_id := self.model.get("unk_id")) is not None:
            tokens.append((self.pieces[unknown_id], unknown_id))
        known = self.pieces.keys() | self.added.keys()
        return [(token, number if number in known else None) for token, number in tokens]

    def keep(self, ids: Set[int]) -> list[int]:
        """Keep only some tokens, and number them from 0.

        The pieces come first, as in the library, and the order is unchanged. `ids` must include
        every special token, and the parts of every join.

        Args:
            ids: The tokens to keep; unknown ids are ignored.

        Returns:
            The old id of each token.
        """
        pieces = sorted(number for number in self.pieces if number in ids)
        rest = sorted(
            number for number in self.added if number in ids and number not in self.pieces
        )
        order = [*pieces, *rest]
        new_ids = {old: new for new, old in enumerate(order)}
        model = self.model
        if isinstance(model["vocab"], list):
            model["vocab"] = [model["vocab"][number] for number in pieces]
            if model["unk_id"] is not None:
                model["unk_id"] = new_ids[model["unk_id"]]
        else:
            model["vocab"] = {self.pieces[number]: new_ids[number] for number in pieces}
        if "merges" in model:
            left = model["vocab"].keys()
            model["merges"] = [m for m in model["merges"] if {*m, self.joined(*m)} <= left]
        for token in self._added():
            token["id"] = new_ids[token["id"]]
        self._added().sort(key=lambda token: token["id"])
        for _, places, index in _id_places(self._content["post_processor"]):
            places[index] = new_ids[places[index]]
        self._content["padding"] = None  # it refers to an id, and is set per batch
        return order

    def joined(self, left: str, right: str) -> str:
        """Join two pieces like BPE does; the mark of pieces inside a word is kept once."""
        return left + right[len(self.model.get("continuing_subword_prefix") or "") :]

    def tokenizer(self) -> Tokenizer:
        """Build the tokenizer of the current content."""
        return Tokenizer.from_str(json.dumps(self._content))

    def _added(self) -> list[_Json]:
        added: list[_Json] = self._content["added_tokens"]
        return added


def _id_places(processor: _Json | None) -> Iterator[tuple[str, list[Any], int]]:
    """Yield the ids in a post-processor: the token, and the list and the index of its id."""
    if processor is None:
        return
    for part in processor.get("processors", ()):
        yield from _id_places(part)
    for special in processor.get("special_tokens", {}).values():
        for index, token in enumerate(special["tokens"]):
            yield token, special["ids"], index
    for name in ("cls", "sep"):
        if name in processor:
            yield processor[name][0], processor[name], 1
