"""Loading a checkpoint for the head `sparse`: SPLADE, as sentence-transformers saves and runs it.

A plain masked language model of transformers gets SPLADE's pooling by the maximum, as it does in
sentence-transformers.
"""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import Head
from lanner.errors import CheckpointError, UnsupportedError
from lanner.files.texts import shipped_sentences
from lanner_export.checkpoint.checkpoint import Checkpoint, require_similarity, source_of
from lanner_export.checkpoint.config import (
    architecture_of,
    read_config,
    require_encoder_head,
    require_positions,
    token_limit,
)
from lanner_export.checkpoint.modules import read_sparse_modules, require_safetensors
from lanner_export.checkpoint.own_tokenizer import restore_own_tokenizer
from lanner_export.checkpoint.weights import (
    require_all_used,
    require_finite,
    shown_names,
)
from lanner_export.graph.tensors import INPUTS, TERMS
from lanner_export.graph.tracing import TermsGraph
from lanner_export.transformer.framework import (
    load_sentence_transformers,
    load_transformers,
    prompts_of,
)
from lanner_export.transformer.tokenizer import write_tokenizer
from lanner_export.trim.trimming import NO_TRIMMING, Trimming, trim

#: Heads of pretraining beside that of masked words, which no weight of a term depends on.
_OTHER_HEADS = re.compile(r"cls\.seq_relationship\.|sop_classifier\.")
#: Activation of a SpladePooling module -> the number of its logarithms.
_LOGARITHMS = {"relu": 1, "log1p_relu": 2}


def load_sparse_encoder(
    directory: Path,
    checkpoint: str,
    *,
    max_tokens: int | None = None,
    trimming: Trimming = NO_TRIMMING,
) -> Checkpoint:
    """Load a sentence-transformers or transformers directory as weights of terms.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        max_tokens: A longest input that replaces the checkpoint's own.
        trimming: The layers to keep.

    Raises:
        CheckpointError: The checkpoint is incomplete or unreadable.
        UnsupportedError: The architecture or a module cannot be exported, or the vocabulary is to
            be trimmed.
    """
    modules = read_sparse_modules(directory)
    config = read_config(modules.transformer, checkpoint)
    require_encoder_head(config, Head.SPARSE, checkpoint)
    modules.require_weights()
    if trimming.corpus is not None:
        msg = (
            f"{checkpoint} answers with a weight for each token of its vocabulary, of which "
            "--vocabulary-from would take some out: leave it out"
        )
        raise UnsupportedError(msg)
    warnings = _require_own_weights(modules.transformer, checkpoint)
    if modules.query is not None:
        require_safetensors(modules.query, is_needed=True)
    model, table = _sparse_encoder(directory, checkpoint)
    language_model, pooling = model[0].auto_model, model[1]
    language_model.config.return_dict = True  # its answers are the same, and have names
    warnings += restore_own_tokenizer(
        model.tokenizer, modules.transformer, lowercases=bool(model[0].do_lower_case)
    )
    require_finite(model, checkpoint)
    require_positions(language_model, checkpoint)
    similarity = str(model.similarity_fn_name)
    require_similarity(similarity, checkpoint)
    # The limit is applied to the answers, so that the graph gives all weights.
    most, model.max_active_dims = model.max_active_dims, None
    encoder = language_model.base_model
    # The reference must cut at the same limit as the artifact.
    model.max_seq_length = token_limit(
        encoder,
        config,
        model.max_seq_length,
        max_tokens,
        checkpoint,
        special_tokens=model.tokenizer.num_special_tokens_to_add(),
    )
    left_out = trim(
        encoder, model.tokenizer, trimming, max_tokens=model.max_seq_length, checkpoint=checkpoint
    )
    terms = int(language_model.config.vocab_size)
    return Checkpoint(
        head=Head.SPARSE,
        model=model,
        graph=TermsGraph(
            language_model,
            pooling=pooling.pooling_strategy,
            logarithms=_LOGARITHMS[pooling.activation_function],
        ),
        inputs=INPUTS,
        output=TERMS,
        reference=_Reference(model),
        write_tokenizer=partial(write_tokenizer, model.tokenizer, model.max_seq_length),
        architecture=architecture_of(model, language_model.config),
        max_tokens=model.max_seq_length,
        dimension=terms,
        similarity=similarity,
        prompts=prompts_of(model),
        default_prompt_name=model.default_prompt_name,
        source={
            **source_of(directory, checkpoint, library=modules.library),
            "pooling": pooling.pooling_strategy,
        },
        trimming=left_out,
        warnings=warnings,
        max_active_dims=most,
        query_weights=None
        if table is None
        else _weights(table, model.tokenizer, terms, checkpoint),
    )


class _Reference:
    def __init__(self, model: Any) -> None:
        self._model = model

    def __call__(self, inputs: Sequence[Any]) -> list[NDArray[np.float32]]:
        # prompt="" disables a default prompt. One text at a time, so that padding has no effect.
        vectors = self._model.encode(
            list(inputs),
            prompt="",
            batch_size=1,
            show_progress_bar=False,
            convert_to_tensor=False,
            convert_to_sparse_tensor=False,
        )
        return [vector.numpy() for vector in vectors]


def _weights(table: Any, tokenizer: Any, terms: int, checkpoint: str) -> NDArray[np.float32]:
    """Return the weight of each term in a query, float32 [terms]."""
    weights: NDArray[np.float32] = table.weight.detach().float().numpy()
    if len(weights) > terms or _ids(table.tokenizer) != _ids(tokenizer):
        msg = (
            f"{checkpoint} splits queries otherwise than documents, so that their terms differ: "
            "give its SparseStaticEmbedding the tokenizer of its language model"
        )
        raise UnsupportedError(msg)
    if not np.isfinite(weights).all():
        msg = f"{checkpoint} has weights of queries that are not finite: download it again"
        raise CheckpointError(msg)
    return np.pad(weights, (0, terms - len(weights)))


def _ids(tokenizer: Any) -> list[list[int]]:
    found: list[list[int]] = tokenizer(shipped_sentences(), add_special_tokens=False)["input_ids"]
    return found


def _sparse_encoder(directory: Path, checkpoint: str) -> tuple[Any, Any]:
    """Return the encoder of documents, and the table of queries or None."""
    from sentence_transformers import SparseEncoder  # noqa: PLC0415

    model, table = load_sentence_transformers(SparseEncoder, directory, checkpoint), None
    if type(model[0]).__name__ == "Router":
        routes = model[0].sub_modules
        table = routes["query"][0]
        model = SparseEncoder(
            modules=list(routes["document"]),
            device="cpu",
            prompts=model.prompts,
            default_prompt_name=model.default_prompt_name,
            similarity_fn_name=model.similarity_fn_name,
            max_active_dims=model.max_active_dims,
        ).eval()
    own = type(model[0].auto_model).__name__
    if not own.endswith("ForMaskedLM") or len(model) != 2:
        msg = (
            f"{checkpoint} is a {own}, which has no head of masked words: pass the directory of a "
            "SPLADE model, or of a masked language model"
        )
        raise UnsupportedError(msg)
    return model, table


def _require_own_weights(directory: Path, checkpoint: str) -> list[str]:
    """Refuse weights that are missing, and those that transformers does not use."""
    from transformers import AutoModelForMaskedLM  # noqa: PLC0415

    model, info = load_transformers(AutoModelForMaskedLM, directory, checkpoint)
    if missing := sorted(info["missing_keys"]):
        msg = (
            f"{checkpoint} lacks {len(missing)} weights of the head {Head.SPARSE!r} "
            f"({shown_names(missing)}): fine-tune it for that first, or pass the --head that it "
            "was trained for"
        )
        raise CheckpointError(msg)
    unexpected = [name for name in info["unexpected_keys"] if not _OTHER_HEADS.match(name)]
    return require_all_used(unexpected, model, checkpoint, drops_head=False)
