"""Trimming a transformer and its tokenizer to the vocabulary of a corpus."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.checkpoint.config import position_padding_id
from lanner_export.trim.tokenizer import trim_tokenizer

#: The number of texts of the corpus that the transformer reads before and after.
_COMPARED_TEXTS = 4
#: The most that a component of a token's vector may differ: the sums are the same.
_LARGEST_DIFFERENCE = 1e-5


def trim_vocabulary(
    encoder: Any, tokenizer: Any, texts: Sequence[str], *, max_tokens: int, checkpoint: str
) -> tuple[int, int]:
    """Remove the tokens that a corpus never uses from a tokenizer and an embedding table.

    Args:
        encoder: The transformer, without its head; it is changed.
        tokenizer: Its fast tokenizer of transformers; it is changed.
        texts: The corpus, at least one text.
        max_tokens: Longest input.
        checkpoint: The name of the checkpoint, for messages.

    Returns:
        The new and the old number of rows of the table.

    Raises:
        CheckpointError: A token that must be kept has no row, or is not in the vocabulary.
        UnsupportedError: The transformer has more per token than a row of one table.
        ExportError: A text of the corpus would be split differently.
    """
    table = encoder.get_input_embeddings()
    if not isinstance(table, torch.nn.Embedding):
        msg = f"{checkpoint} has no plain table of its tokens: leave --vocabulary-from out"
        raise UnsupportedError(msg)
    rows = table.num_embeddings
    whole = tokenizer.backend_tokenizer
    padding_id = position_padding_id(encoder)
    pinned = 0 if padding_id is None else padding_id + 1
    trimmed = trim_tokenizer(whole, texts, checkpoint, pinned=pinned)
    if (last := int(trimmed.old_ids.max())) >= rows:
        msg = (
            f"trimming the vocabulary of {checkpoint} would drop {whole.id_to_token(last)!r}, "
            f"token {last} of its tokenizer, because its embedding table has {rows} rows: resize "
            "that with resize_token_embeddings, or leave --vocabulary-from out"
        )
        raise CheckpointError(msg)
    ids = [trimmed.tokenizer.encode(text).ids[:max_tokens] for text in texts[:_COMPARED_TEXTS]]
    before = [_hidden(encoder, trimmed.old_ids[row]) for row in ids if row]
    _keep_rows(encoder, table, trimmed.old_ids)
    after = [_hidden(encoder, np.array(row)) for row in ids if row]
    if any((a - b).abs().max() > _LARGEST_DIFFERENCE for a, b in zip(before, after, strict=True)):
        msg = (
            f"{checkpoint} is a {encoder.config.model_type} model, which uses token ids for more "
            "than rows of a table: leave --vocabulary-from out"
        )
        raise UnsupportedError(msg)
    # The only way to replace the vocabulary; transformers does it in train_new_from_iterator.
    tokenizer._tokenizer = trimmed.tokenizer
    return len(trimmed.old_ids), rows


def _keep_rows(encoder: Any, table: torch.nn.Embedding, old_ids: NDArray[np.int64]) -> None:
    new_ids = {old: new for new, old in enumerate(old_ids.tolist())}
    old, rows = table.weight, table.num_embeddings
    weight = torch.nn.Parameter(old.detach()[torch.from_numpy(old_ids)])
    # T5 has its table twice: the weight is the same.
    for one in encoder.modules():
        if isinstance(one, torch.nn.Embedding) and one.weight is old:
            one.weight, one.num_embeddings = weight, len(old_ids)
            if one.padding_idx is not None:
                one.padding_idx = new_ids.get(one.padding_idx)
    config = encoder.config
    config.vocab_size = len(old_ids)
    for name, number in config.to_dict().items():
        # A number beyond the table is a default of transformers, and no token of this model.
        if name.endswith("_token_id") and isinstance(number, int) and number < rows:
            setattr(config, name, new_ids.get(number))


def _hidden(encoder: Any, ids: NDArray[np.int64]) -> torch.Tensor:
    """Return the vectors of a text's tokens, float32 [tokens, hidden size]."""
    input_ids = torch.from_numpy(ids)[None]
    with torch.no_grad():
        hidden: torch.Tensor = encoder(
            input_ids=input_ids, attention_mask=torch.ones_like(input_ids)
        )[0][0]
    return hidden
