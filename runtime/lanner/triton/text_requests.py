"""Texts that the server tokenises: what stands for a tokenizer, and for its tokens, here.

A text counts as one token for each byte of its UTF-8, which bounds requests and sorts them by
length as tokens do, and one more, so that an empty text is sent like any other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from lanner.activation import softmax
from lanner.engines.triton import TritonEngine
from lanner.entities import TokenScores
from lanner.errors import UnsupportedError
from lanner.manifest import Manifest
from lanner.runner import Part, Runner
from lanner.tagging import TaggingModel
from lanner.tokenization import Pair, check_texts, check_texts_or_pairs
from lanner.triton.tensors import CONTINUES, OFFSETS, TEXT, TEXT_PAIR

_END = b"\0"


class _Encoded(NamedTuple):
    """A text or a pair in UTF-8, in the fields of an encoding of the `tokenizers` library."""

    ids: bytes
    type_ids: bytes


class ServerTokenizer:
    """Sends texts as they are, where a tokenizer makes tokens of them."""

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def encode(self, texts: Sequence[str]) -> list[bytes]:
        """See `lanner.tokenization.TextTokenizer.encode`."""
        check_texts(texts)
        return [text.encode() + _END for text in texts]

    def encode_pairs(
        self, inputs: Sequence[str | Pair], *, with_types: bool = False
    ) -> list[_Encoded]:
        """See `lanner.tokenization.Tokenizer.encode_pairs`."""
        check_texts_or_pairs(inputs)
        pairs = [(one, None) if isinstance(one, str) else one for one in inputs]
        return [
            _Encoded(left.encode() + _END, b"" if right is None else right.encode() + _END)
            for left, right in pairs
        ]

    def count_prompt_tokens(self, prompt: str) -> int:
        """See `lanner.tokenization.TextTokenizer.count_prompt_tokens`; the server counts them.

        Raises:
            UnsupportedError: Always: it is asked only of a model that does not pool its prompts.
        """
        msg = (
            f"{self._manifest.name} reads its prompts without pooling them, which the text model "
            f"does with its own prompt alone: connect to the token model for {prompt!r}"
        )
        raise UnsupportedError(msg)


def feed_texts(parts: Sequence[Part]) -> Mapping[str, NDArray[Any]]:
    """The tensors of one request: BYTES [texts, 1] each; see `lanner.runner.feed`."""
    texts = [cast("bytes", some.token_ids[row]) for some, rows in parts for row in rows]
    tensors = {TEXT: _column(texts)}
    pairs = [some.type_ids[row] for some, rows in parts for row in rows if some.type_ids]
    if any(pairs):
        tensors[TEXT_PAIR] = _column(cast("list[bytes]", pairs))
    return tensors


class ServerTaggingModel(TaggingModel):
    """The head `tag` of a server that tokenises, and says which characters its tokens are."""

    def token_scores(
        self, texts: Sequence[str], batch_size: int = 32, **options: Any
    ) -> list[TokenScores]:
        """See `TaggingModel.token_scores`."""
        deadline_s = options.get("deadline_s")
        return self.of_one_version(
            lambda runner: [
                tokens
                for start in range(0, len(texts), batch_size)
                for tokens in self._ask(runner, texts[start : start + batch_size], deadline_s)
            ]
        )

    def _ask(
        self, runner: Runner, texts: Sequence[str], deadline_s: float | None
    ) -> list[TokenScores]:
        engine = cast("TritonEngine", runner.engine)
        names = (self.manifest.outputs[0], OFFSETS, CONTINUES)
        inputs = {TEXT: _column([text.encode() + _END for text in texts])}
        found = engine.answer(inputs, names, deadline_s)
        answers = []
        for logits, offsets, continues in zip(*(found[name] for name in names), strict=True):
            is_token = offsets[:, 0] >= 0  # the others fill up what is shorter
            scores = softmax(logits[is_token]) if is_token.any() else logits[:0]
            answers.append(TokenScores(offsets[is_token], scores, continues[is_token] != 0))
        return answers


def _column(texts: list[bytes]) -> NDArray[np.object_]:
    column = np.empty((len(texts), 1), dtype=np.object_)
    column[:, 0] = [text[: -len(_END)] for text in texts]
    return column
