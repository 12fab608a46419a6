"""Requests of a token model, of any lengths, run together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.empty_answers import empty_answers
from lanner.artifact.manifest import Manifest
from lanner.errors import InputError
from lanner.running.runner import TYPE_IDS, Runner, Sequences
from lanner.triton.contract.tensors import IDS, MASK

#: Triton joins requests; only the token budget limits batches.
_ANY_NUMBER = 1 << 30


@dataclass(frozen=True)
class TokenRequest:
    """The content of a request, without padding.

    Attributes:
        token_ids: The token ids of each text, int64 [tokens].
        type_ids: The token types of each text, or None if the model takes none.
        unpooled_tokens: For each text, the number of tokens at the start that are not pooled.
        attended_tokens: For each text, the number of tokens at the start that are read, of a model
            that answers each token; None for other models.
        is_token: The positions of tokens among the padding, bool [texts, length].
    """

    token_ids: list[NDArray[np.int64]]
    type_ids: list[NDArray[np.int64]] | None
    unpooled_tokens: list[int]
    is_token: NDArray[np.bool_]
    attended_tokens: list[int] | None = None

    @classmethod
    def of(cls, tensors: Mapping[str, NDArray[Any]], manifest: Manifest) -> Self:
        """Read the tensors of a request, int64 [texts, length] each.

        Padding may be on either side, and any mask value but 0 and 2 marks a token.

        Raises:
            InputError: A tensor is missing, of another shape, or holds what the model cannot take.
        """
        ids, mask = tensors.get(IDS), tensors.get(MASK)
        if ids is None or mask is None:
            msg = f"{manifest.name} takes {IDS} and {MASK}, and the request lacks one of them"
            raise InputError(msg)
        types = tensors.get(TYPE_IDS, np.zeros_like(ids)) if TYPE_IDS in manifest.inputs else None
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        if ids.ndim != 2 or len(set(shapes.values())) != 1:
            msg = f"{manifest.name} takes tensors [texts, tokens] of one shape, not {shapes}"
            raise InputError(msg)
        is_token = mask != 0
        _check(ids, is_token, manifest)
        if types is not None:
            _check_types(types, is_token, manifest)
        by_token = manifest.head_record.by_token
        masks = [row[kept] for row, kept in zip(mask, is_token, strict=True)]
        return cls(
            [row[kept] for row, kept in zip(ids, is_token, strict=True)],
            None
            if types is None
            else [row[kept] for row, kept in zip(types, is_token, strict=True)],
            [0 if by_token else _unpooled(row, manifest) for row in masks],
            is_token,
            [_attended(row, manifest) for row in masks] if by_token else None,
        )


def run_together(
    requests: Sequence[TokenRequest], runner: Runner, manifest: Manifest
) -> list[NDArray[np.float32]]:
    """Return the output of each request, float32 [texts, dimension] or [texts, length, labels].

    Raises:
        LannerError: See `Runner.run`.
    """
    by_token = manifest.head_record.by_token
    outputs = [empty_answers(manifest, *r.is_token.shape[: 2 if by_token else 1]) for r in requests]
    # All sequences of a call have the same number of unpooled tokens.
    for unpooled in sorted({count for request in requests for count in request.unpooled_tokens}):
        places = [
            (number, row)
            for number, request in enumerate(requests)
            for row, count in enumerate(request.unpooled_tokens)
            if count == unpooled
        ]
        ids: list[Any] = [requests[number].token_ids[row] for number, row in places]
        types: list[Any] = [
            of[row] for number, row in places if (of := requests[number].type_ids) is not None
        ]
        attended: list[int] = [
            counts[row] for number, row in places if (counts := requests[number].attended_tokens)
        ]
        sequences = Sequences(
            ids, types or None, unpooled_tokens=unpooled, attended_tokens=attended or None
        )
        for rows, block in runner.run(sequences, max_sequences=_ANY_NUMBER):
            for index, answer in zip(rows, block, strict=True):
                number, row = places[index]
                if by_token:
                    outputs[number][row, requests[number].is_token[row]] = answer[: len(ids[index])]
                else:
                    outputs[number][row] = answer
    return outputs


def _check(ids: NDArray[Any], is_token: NDArray[np.bool_], manifest: Manifest) -> None:
    limit = manifest.tokenizer.max_tokens
    longest = int(is_token.sum(axis=1).max(initial=0))
    if limit is not None and longest > limit:
        msg = f"{manifest.name} takes at most {limit} tokens, and a text has {longest}: cut it"
        raise InputError(msg)
    known = manifest.token_ids
    wrong = ids[is_token & ((ids < 0) | (ids >= known))]
    if wrong.size:
        msg = (
            f"{manifest.name} knows tokens from 0 to {known - 1}, not {wrong[0]}: tokenise with "
            "its own tokenizer.json"
        )
        raise InputError(msg)


def _check_types(types: NDArray[Any], is_token: NDArray[np.bool_], manifest: Manifest) -> None:
    # An artifact does not record the number of token types. A graph takes types only if its
    # checkpoint has at least two and its tokenizer makes exactly these two
    # (`lanner_export.transformer.classifier`).
    wrong = types[is_token & (types != 0) & (types != 1)]
    if wrong.size:
        msg = (
            f"{manifest.name} knows the token types 0 and 1, of the first and the second text of a "
            f"pair, not {wrong[0]}: tokenise with its own tokenizer.json"
        )
        raise InputError(msg)


def _attended(mask: NDArray[Any], manifest: Manifest) -> int:
    """Count the tokens of one text that are read, by the mask of its tokens."""
    count = int((mask != 2).sum())
    if (mask[:count] == 2).any():
        msg = (
            f"{manifest.name} takes 2 in {MASK} for tokens that are answered but not read, at the "
            "end of a text alone"
        )
        raise InputError(msg)
    return count


def _unpooled(mask: NDArray[Any], manifest: Manifest) -> int:
    """Count the unpooled tokens of one text by the mask of its tokens."""
    count = int((mask == 2).sum())
    if (mask[:count] != 2).any():
        msg = (
            f"{manifest.name} takes 2 in {MASK} for tokens that are read but not pooled, at the "
            "start of a text alone"
        )
        raise InputError(msg)
    return count
