"""Loading a checkpoint for the head `embed`.

sentence-transformers loads both kinds: its own directories with their modules, and plain
transformers checkpoints, to which it adds mean pooling.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import Head
from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.checkpoint.checkpoint import (
    Checkpoint,
    require_similarity,
    source_of,
)
from lanner_export.checkpoint.config import (
    architecture_of,
    encoder_class,
    read_config,
    require_positions,
    token_limit,
)
from lanner_export.checkpoint.modules import Modules, read_modules
from lanner_export.checkpoint.own_tokenizer import restore_own_tokenizer
from lanner_export.checkpoint.weights import (
    require_all_used,
    require_finite,
    shown_names,
)
from lanner_export.graph.tensors import EMBEDDING, INPUTS
from lanner_export.graph.tracing import SentenceGraph
from lanner_export.transformer.framework import load_sentence_transformers, load_transformers
from lanner_export.transformer.tokenizer import write_tokenizer
from lanner_export.trim.trimming import NO_TRIMMING, Trimming, trim


def load_embedder(
    directory: Path,
    checkpoint: str,
    *,
    max_tokens: int | None = None,
    truncate_dim: int | None = None,
    pooling: str | None = None,
    drops_head: bool = False,
    trimming: Trimming = NO_TRIMMING,
) -> Checkpoint:
    """Load a sentence-transformers or transformers directory as sentence vectors.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        max_tokens: A longest input that replaces the checkpoint's own.
        truncate_dim: The number of leading dimensions to keep; None for the checkpoint's own.
        pooling: One of `POOLINGS`, for a checkpoint that does not say it; None for the mean.
        drops_head: True if the user asked for the encoder of a checkpoint with another head.
        trimming: The layers and the vocabulary to keep.

    Raises:
        CheckpointError: The checkpoint is incomplete or unreadable, or would lose a special token.
        UnsupportedError: The architecture or a module cannot be exported or trimmed,
            or the checkpoint says its pooling itself.
        ExportError: A text of the corpus would be split differently.
    """
    modules = read_modules(directory)
    config = read_config(modules.transformer, checkpoint)
    modules.require_weights()
    warnings = _pooling_warning(modules, checkpoint, pooling)
    dropped = require_own_weights(modules.transformer, config, checkpoint, drops_head=drops_head)
    model = _sentence_transformer(directory, checkpoint, pooling)
    warnings += restore_own_tokenizer(
        model.tokenizer, modules.transformer, lowercases=bool(model[0].do_lower_case)
    )
    warnings += dropped
    require_finite(model, checkpoint)
    require_positions(model[0].auto_model, checkpoint)
    similarity = str(model.similarity_fn_name or "cosine")
    require_similarity(similarity, checkpoint)
    own, model.truncate_dim = model.truncate_dim, None
    width = _dimension(model)
    all_kept = own or width
    kept = truncate_dim if truncate_dim is not None else all_kept
    if not 1 <= kept <= width:
        what = "--truncate-dim" if truncate_dim is not None else "its own truncate_dim"
        msg = f"{what} must be from 1 to {width} for {checkpoint}, not {kept}"
        raise UnsupportedError(msg)
    model.truncate_dim = None if kept == width else kept
    encoder = model[0].auto_model
    # The reference must cut at the same limit as the artifact.
    model.max_seq_length = token_limit(
        encoder,
        config,
        model.max_seq_length,
        max_tokens,
        checkpoint,
        special_tokens=model.tokenizer.num_special_tokens_to_add(),
    )
    prompts = dict(model.prompts or {})
    left_out = trim(
        encoder,
        model.tokenizer,
        trimming,
        prompts=prompts.values(),
        max_tokens=model.max_seq_length,
        checkpoint=checkpoint,
    )
    if kept < all_kept:
        left_out["dimensions"] = {"kept": kept, "of": all_kept}
    return Checkpoint(
        head=Head.EMBED,
        model=model,
        graph=SentenceGraph(model, dimension=kept),
        inputs=INPUTS,
        output=EMBEDDING,
        reference=_Reference(model),
        write_tokenizer=partial(write_tokenizer, model.tokenizer, model.max_seq_length),
        architecture=architecture_of(model, encoder.config),
        max_tokens=model.max_seq_length,
        dimension=kept,
        similarity=similarity,
        prompts=prompts,
        default_prompt_name=model.default_prompt_name,
        pools_prompt=_pools_prompt(model, checkpoint),
        source={
            **source_of(directory, checkpoint, library=modules.library),
            "pooling": _pooling_of(model),
        },
        trimming=left_out,
        warnings=warnings,
    )


class _Reference:
    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        # prompt="" disables a default prompt. One text at a time, so that padding has no effect,
        # even if the framework pads on the left and shifts the positions.
        vectors = self._model.encode(list(inputs), prompt="", batch_size=1, show_progress_bar=False)
        return list(vectors)


def _pooling_warning(modules: Modules, checkpoint: str, pooling: str | None) -> list[str]:
    """Return a warning about a pooling that nobody chose.

    Raises:
        UnsupportedError: The user chose one, and the checkpoint has its own.
    """
    if modules.library == "transformers":
        if pooling is not None:
            return []
        warning = (
            f"{checkpoint} does not name its pooling, so the mean is taken: if it was trained with "
            "another one, pass that with --pooling, for example cls"
        )
        return [warning]
    if pooling is not None:
        msg = f"{checkpoint} names its own pooling: leave --pooling {pooling} out"
        raise UnsupportedError(msg)
    return []


def _pooling_of(model: Any) -> str:
    mode = model[1].pooling_mode
    return mode if isinstance(mode, str) else "+".join(mode)


def _sentence_transformer(directory: Path, checkpoint: str, pooling: str | None) -> Any:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from sentence_transformers.sentence_transformer.modules import Pooling  # noqa: PLC0415

    model = load_sentence_transformers(SentenceTransformer, directory, checkpoint)
    if pooling is not None:
        model[1] = Pooling(model[1].embedding_dimension, pooling_mode=pooling)
    return model


def require_own_weights(
    directory: Path, config: Any, checkpoint: str, *, drops_head: bool
) -> list[str]:
    """Refuse weights that are missing, and those that transformers does not use.

    Args:
        directory: The directory of the transformer.
        config: Its configuration.
        checkpoint: The name of the checkpoint, for messages.
        drops_head: True if the user asked for the encoder alone.

    Returns:
        A sentence for the user if a head is left out.

    Raises:
        CheckpointError: There are such weights.
    """
    import transformers  # noqa: PLC0415

    kind = getattr(transformers, encoder_class(config))
    model, info = load_transformers(kind, directory, checkpoint)
    # The pooler serves BERT's next-sentence task; no vector here uses it.
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        msg = (
            f"{checkpoint} lacks {len(missing)} weights of its transformer "
            f"({shown_names(missing)}): it is incomplete or of another architecture than its "
            "config.json says"
        )
        raise CheckpointError(msg)
    return require_all_used(info["unexpected_keys"], model, checkpoint, drops_head=drops_head)


def _pools_prompt(model: Any, checkpoint: str) -> bool:
    for module in model:
        if getattr(module, "include_prompt", True) is False:
            if "weightedmean" in module.pooling_mode:
                # The weights depend on positions in the text with its prompt, which the mask hides.
                msg = (
                    f"{checkpoint} excludes its prompts from a pooling weighted by position, "
                    "which Lanner does not export"
                )
                raise UnsupportedError(msg)
            return False
    return True


def _dimension(model: Any) -> int:
    # Renamed in sentence-transformers 6; the old name warns there.
    method = getattr(model, "get_embedding_dimension", None)
    return int((method or model.get_sentence_embedding_dimension)())
