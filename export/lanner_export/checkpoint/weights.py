"""The checks of a checkpoint's weights: all are used and finite, and every token has a row."""

import re
from collections.abc import Collection, Sequence
from typing import Any

import torch
from tokenizers import Tokenizer

from lanner.errors import CheckpointError, UnsupportedError

#: Weights that no answer depends on: the pooler of BERT's next-sentence task, and buffers that are
#: computed and were once saved.
_UNUSED = re.compile(
    r"(^|\.)(pooler|position_ids|token_type_ids|inv_freq|original_inv_freq|masked_bias)(\.|$)"
)
#: Heads for pretraining, which an encoder does not need afterwards.
_PRETRAINING_HEADS = re.compile(
    r"(cls\.(predictions|seq_relationship)|predictions\.(dense|LayerNorm|decoder|bias)|lm_head|mlm_head"
    r"|lm_predictions|mask_predictions|generator_predictions|generator_lm_head|sop_classifier"
    r"|discriminator_predictions|vocab_transform|vocab_layer_norm|vocab_projector|pred_layer|lm_loss"
    r"|head\.(dense|norm)|decoder\.(weight|bias)$)(\.|$)"
)


def require_all_used(
    unexpected: Collection[str], model: Any, checkpoint: str, *, drops_head: bool
) -> list[str]:
    """Refuse weights that the checkpoint has and the model does not use.

    Args:
        unexpected: Their names, from transformers.
        model: The model that was loaded.
        checkpoint: Its name for people.
        drops_head: True if the user asked for the encoder alone.

    Returns:
        A sentence for the user if a head is left out.

    Raises:
        CheckpointError: There are such weights, and they are not known to be harmless.
    """
    own = {name for name, _ in model.named_children()} | {model.base_model_prefix}
    left = [name for name in sorted(unexpected) if not _UNUSED.search(name)]
    inside = [name for name in left if name.split(".")[0] in own]
    others = [name for name in left if name.split(".")[0] not in own]
    outside = [name for name in others if not _PRETRAINING_HEADS.match(name)]
    if inside or (outside and not drops_head):
        names = inside or outside
        kind = type(model).__name__
        remedy = (
            "it is of another architecture than its config.json says"
            if inside
            else "pass --head embed to export its encoder without them"
        )
        msg = (
            f"{checkpoint} has weights that transformers' {kind} does not use "
            f"({shown_names(names)}), so its answers would differ: {remedy}"
        )
        raise CheckpointError(msg)
    if outside:
        return [f"the head of {checkpoint} is left out: {shown_names(outside)}"]
    return []


def shown_names(names: Sequence[str]) -> str:
    """Return the first of some names, for messages."""
    more = ", ..." if len(names) > 2 else ""
    return ", ".join(names[:2]) + more


def require_finite(model: Any, checkpoint: str) -> None:
    """Refuse weights that are not finite: each of them makes answers NaN.

    Raises:
        CheckpointError: There is one; the message names it.
    """
    for name, weight in model.state_dict().items():
        if not weight.is_floating_point():
            continue
        wrong = ~torch.isfinite(weight)
        if wrong.any():
            row = f" in row {int(wrong.nonzero()[0][0])}" if weight.dim() > 1 else ""
            own_name = re.sub(r"^0\.(auto_)?model\.", "", name)  # of sentence-transformers' module
            msg = (
                f"{checkpoint} has values that are not finite numbers in its weight {own_name}, "
                f"{int(wrong.sum()):,} of them, the first{row}: download it again, or repair its "
                "training"
            )
            raise CheckpointError(msg)


def require_row_for_each_token(encoder: Any, tokenizer: Tokenizer, checkpoint: str) -> None:
    """Refuse a tokenizer whose ids exceed the embedding table, or that gives a text no ids.

    Raises:
        CheckpointError: It has such a token.
        UnsupportedError: It puts no token around a text, or the transformer has no plain table.
    """
    if not tokenizer.encode("").ids:
        msg = (
            f"the tokenizer of {checkpoint} puts no special token around a text, so that an empty "
            "one has no token to read: give its tokenizer.json the post-processor it was trained "
            "with"
        )
        raise UnsupportedError(msg)
    table = encoder.get_input_embeddings()
    rows = getattr(table, "num_embeddings", None)
    if rows is None:
        msg = f"{checkpoint} has no plain table of its tokens, which Lanner needs"
        raise UnsupportedError(msg)
    ids = {number: token for token, number in tokenizer.get_vocab().items()}
    # What the post-processor puts around a text need not be in the vocabulary.
    for encoding in (tokenizer.encode("a"), tokenizer.encode("a", "b")):
        ids |= dict(zip(encoding.ids, encoding.tokens, strict=True))
    beyond = sorted(number for number in ids if number >= rows)
    if beyond:
        msg = (
            f"the tokenizer of {checkpoint} has the token {ids[beyond[0]]!r} with the id "
            f"{beyond[0]}, and its embedding table has {rows} rows (of {len(beyond):,} such tokens "
            "the first): resize the table with resize_token_embeddings and train those rows, or "
            "take the tokens out of the tokenizer"
        )
        raise CheckpointError(msg)
