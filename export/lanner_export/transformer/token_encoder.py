"""Loading a checkpoint for the head `tokens`: a vector for each token.

An encoder of tokens (ColBERT), as PyLate or sentence-transformers saved it, is loaded by
sentence-transformers' `MultiVectorEncoder`. Of any other encoder the tokens are those of its
transformer, before they are pooled.
"""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import Head
from lanner.artifact.manifest import LateInteraction
from lanner.errors import CheckpointError, UnsupportedError
from lanner.models.prompts import PROMPTS_OF_TASK
from lanner.vectors.late_interaction import MAXSIM_NAMES
from lanner_export.checkpoint.checkpoint import Checkpoint, source_of
from lanner_export.checkpoint.config import (
    architecture_of,
    read_config,
    require_positions,
    token_limit,
)
from lanner_export.checkpoint.modules import (
    is_token_encoder,
    read_modules,
    read_settings,
    read_token_modules,
)
from lanner_export.checkpoint.own_tokenizer import restore_own_tokenizer
from lanner_export.checkpoint.weights import require_finite
from lanner_export.graph.tensors import INPUTS, TOKENS
from lanner_export.graph.tracing import TokensGraph
from lanner_export.transformer.embedder import require_own_weights
from lanner_export.transformer.framework import load_sentence_transformers, prompts_of
from lanner_export.transformer.tokenizer import write_tokenizer
from lanner_export.trim.trimming import NO_TRIMMING, Trimming, trim

#: The settings of a checkpoint of PyLate with the marks that it puts before texts.
_MARKS = ("query_prefix", "document_prefix")


def load_token_encoder(
    directory: Path,
    checkpoint: str,
    *,
    max_tokens: int | None = None,
    trimming: Trimming = NO_TRIMMING,
) -> Checkpoint:
    """Load a directory of PyLate, sentence-transformers or transformers as vectors of tokens.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        max_tokens: A longest document that replaces the checkpoint's own.
        trimming: The layers and the vocabulary to keep.

    Raises:
        CheckpointError: The checkpoint is incomplete or unreadable, or would lose a special token.
        UnsupportedError: The architecture or a module cannot be exported or trimmed.
        ExportError: A text of the corpus would be split differently.
    """
    is_late = is_token_encoder(directory)
    modules = read_token_modules(directory) if is_late else read_modules(directory)
    config = read_config(modules.transformer, checkpoint)
    modules.require_weights()
    warnings = require_own_weights(modules.transformer, config, checkpoint, drops_head=not is_late)
    model = _model(directory, checkpoint, is_late=is_late)
    encoder, tokenizer = model[0].auto_model, model.tokenizer
    warnings += restore_own_tokenizer(
        tokenizer,
        modules.transformer,
        lowercases=bool(model[0].do_lower_case),
        markers=_markers(directory, tokenizer) if is_late else (),
    )
    require_finite(model, checkpoint)
    require_positions(encoder, checkpoint)
    limit_of = partial(
        token_limit,
        encoder,
        config,
        checkpoint=checkpoint,
        special_tokens=tokenizer.num_special_tokens_to_add(),
    )
    limit = limit_of(_document_tokens(model) if is_late else model.max_seq_length, max_tokens)
    # Queries are cut where the checkpoint cuts them, however long a document may be.
    query_length = model[0].query_length if is_late else limit
    query_limit = query_length or limit_of(model.max_seq_length, None)
    model.max_seq_length = limit
    prompts = prompts_of(model)
    left_out = trim(
        encoder,
        tokenizer,
        trimming,
        prompts=prompts.values(),
        max_tokens=limit,
        checkpoint=checkpoint,
    )
    # Last, since trimming numbers the tokens anew.
    late = _late_interaction(model, limit, query_limit, checkpoint) if is_late else None
    rest = [part for part in list(model)[1:] if is_late and not _is_mask(part)]
    longest = limit if late is None else max(late.query_tokens, late.document_tokens)
    return Checkpoint(
        head=Head.TOKENS,
        model=model,
        graph=TokensGraph(
            encoder,
            rest,
            attends_all=late is None or not late.expanded_tokens or late.attends_expansion,
        ),
        inputs=INPUTS,
        output=TOKENS,
        reference=_LateReference(model) if is_late else _PlainReference(model),
        write_tokenizer=partial(write_tokenizer, tokenizer, longest),
        architecture=architecture_of(model, encoder.config),
        max_tokens=longest,
        dimension=_dimension(model, rest),
        similarity=str(model.similarity_fn_name) if is_late else MAXSIM_NAMES[0],
        prompts=prompts,
        default_prompt_name=model.default_prompt_name,
        source=source_of(directory, checkpoint, library=modules.library),
        trimming=left_out,
        warnings=warnings,
        late_interaction=late,
    )


class _LateReference:
    """The vectors of a text as a document, and behind them those of it as a query."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        # One text at a time, so that padding has no effect.
        options = {"batch_size": 1, "show_progress_bar": False}
        found = []
        for text in inputs:
            both = (
                self._model.encode_document([text], **options),
                self._model.encode_query([text], **options),
            )
            found.append(np.concatenate([_array(vectors) for (vectors,) in both]))
        return found


class _PlainReference:
    """The vectors of the tokens of a text, by sentence-transformers' `SentenceTransformer`."""

    def __init__(self, model: Any) -> None:
        self._model = model
        prompts = {**(model.prompts or {}), None: ""}
        names = [name for name in PROMPTS_OF_TASK["document"] if name in prompts]
        self._prompt = prompts[names[0] if names else model.default_prompt_name]

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        options = {"prompt": self._prompt, "show_progress_bar": False}
        return [
            _array(self._model.encode(text, output_value="token_embeddings", **options))
            for text in inputs
        ]


def _array(vectors: Any) -> NDArray[np.float32]:
    found: NDArray[np.float32] = np.asarray(
        vectors.cpu().numpy() if hasattr(vectors, "cpu") else vectors, np.float32
    )
    return found


def _model(directory: Path, checkpoint: str, *, is_late: bool) -> Any:
    import sentence_transformers  # noqa: PLC0415

    if not is_late:
        kind = sentence_transformers.SentenceTransformer
        return load_sentence_transformers(kind, directory, checkpoint)
    kind = getattr(sentence_transformers, "MultiVectorEncoder", None)
    if kind is None:
        msg = (
            f"{checkpoint} is an encoder of tokens, which sentence-transformers "
            f"{sentence_transformers.__version__} does not load: install version 6"
        )
        raise UnsupportedError(msg)
    return load_sentence_transformers(kind, directory, checkpoint)


def _is_mask(module: Any) -> bool:
    return type(module).__name__ == "MultiVectorMask"


def _mask(model: Any, checkpoint: str) -> Any:
    found = [module for module in model if _is_mask(module)]
    if len(found) != 1 or found[0].keep_only_token_ids:
        msg = (
            f"{checkpoint} has {len(found)} modules MultiVectorMask, or one that keeps tokens of "
            "images alone: Lanner exports encoders of texts with one"
        )
        raise UnsupportedError(msg)
    return found[0]


def _document_tokens(model: Any) -> Any:
    return model[0].document_length or model.max_seq_length


def _late_interaction(
    model: Any, limit: int, query_tokens: int, checkpoint: str
) -> LateInteraction:
    """Return how the checkpoint reads queries and documents, of so many tokens at most."""
    transformer, tokenizer = model[0], model.tokenizer
    mask = _mask(model, checkpoint)
    mask.resolve_with_tokenizer(tokenizer)
    skipped = [] if mask._skiplist_ids is None else sorted(set(mask._skiplist_ids.tolist()))
    expansion = transformer.query_expansion
    own: dict[str, Any] = {}
    if expansion is not None:
        length = int(expansion["length"])
        token = expansion["token"] or tokenizer.mask_token or tokenizer.eos_token
        own = {
            "expanded_tokens": length,
            "expansion_token_id": int(tokenizer.convert_tokens_to_ids(token)),
            "attends_expansion": bool(expansion["attend"]),
        }
        query_tokens = length if expansion["strategy"] == "fixed" else max(query_tokens, length)
    positions = int(getattr(transformer.auto_model.config, "max_position_embeddings", 0) or 0)
    if positions and query_tokens > positions:
        msg = (
            f"{checkpoint} reads queries of {query_tokens} tokens, and its transformer has "
            f"{positions} positions: give it a shorter query_length"
        )
        raise CheckpointError(msg)
    # The reference must cut where the artifact does.
    transformer.query_length, transformer.document_length = query_tokens, limit
    return LateInteraction(
        query_tokens=int(query_tokens),
        document_tokens=limit,
        skipped_token_ids=[int(one) for one in skipped],
        skips_in=[task for task in mask.skiplist_tasks if task in ("query", "document")],
        **own,
    )


def _markers(directory: Path, tokenizer: Any) -> list[str]:
    """Return the marks of PyLate that are tokens of the checkpoint.

    PyLate inserts them by their ids. As text they would be split, unless they stand for themselves.
    """
    settings = read_settings(directory) or {}
    vocabulary = tokenizer.get_vocab()
    found = []
    for name in _MARKS:
        mark = str(settings.get(name) or "")
        known = [one for one in (mark, *mark.split()[:1]) if one and one in vocabulary]
        found += known[:1]
    return found


def _dimension(model: Any, rest: Sequence[Any]) -> int:
    widths = [part.out_features for part in rest if hasattr(part, "out_features")]
    return int(widths[-1] if widths else model[0].auto_model.config.hidden_size)
