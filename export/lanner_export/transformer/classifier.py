"""Loading a checkpoint for the heads `score`, `classify` and `tag`."""

import inspect
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lanner.artifact.heads import HEADS
from lanner.errors import CheckpointError, UnsupportedError
from lanner.text.tokenization import Pair
from lanner_export.checkpoint.checkpoint import (
    Checkpoint,
    require_tokenizer,
    source_of,
)
from lanner_export.checkpoint.config import (
    architecture_of,
    read_config,
    require_encoder_head,
    require_positions,
    token_limit,
)
from lanner_export.checkpoint.heads import (
    CLASS_OF_TASK,
    is_cross_encoder,
    labels_of,
    require_trained_for,
)
from lanner_export.checkpoint.modules import (
    SETTINGS_FILE,
    read_modules_of_cross_encoder,
    read_settings,
    require_safetensors,
)
from lanner_export.checkpoint.own_tokenizer import restore_own_tokenizer
from lanner_export.checkpoint.weights import (
    require_all_used,
    require_finite,
    shown_names,
)
from lanner_export.graph.tensors import INPUTS, LOGITS, TYPE_IDS
from lanner_export.graph.tracing import LogitsGraph
from lanner_export.transformer.framework import (
    load_sentence_transformers,
    load_transformers,
    loading,
)
from lanner_export.transformer.tokenizer import write_tokenizer
from lanner_export.trim.trimming import NO_TRIMMING, Trimming, trim


def load_classifier(
    directory: Path,
    checkpoint: str,
    head: str,
    *,
    max_tokens: int | None = None,
    positive_label: str | None = None,
    trimming: Trimming = NO_TRIMMING,
) -> Checkpoint:
    """Load a transformers or cross-encoder directory with its classification head.

    Args:
        directory: The directory.
        checkpoint: The name of the checkpoint, for messages.
        head: A head with logits.
        max_tokens: A longest input that replaces the checkpoint's own.
        positive_label: The label whose probability `score` returns; None for the second of two.
        trimming: The layers and the vocabulary to keep.

    Raises:
        CheckpointError: The checkpoint is incomplete or unreadable, has no such head, or would lose
            a special token.
        UnsupportedError: The architecture cannot be exported or trimmed, or its labels are
            ambiguous.
        ExportError: A text of the corpus would be split differently.
    """
    config = read_config(directory, checkpoint)
    require_encoder_head(config, head, checkpoint)
    require_safetensors(directory, is_needed=True)
    require_trained_for(config, head, checkpoint)
    record = HEADS[head]
    labels = labels_of(directory, config, head, checkpoint, positive_label)
    model, warnings = _model(directory, checkpoint, head)
    scorer = None
    if is_cross_encoder(directory):
        del model  # of large weights the second copy would matter
        read_modules_of_cross_encoder(directory)
        _require_no_default_prompt(directory, checkpoint)
        from sentence_transformers import CrossEncoder  # noqa: PLC0415

        scorer = load_sentence_transformers(CrossEncoder, directory, checkpoint)
        model, tokenizer, own_limit = (
            scorer[0].auto_model,
            scorer.tokenizer,
            scorer[0].max_seq_length,
        )
    else:
        tokenizer = _tokenizer(directory, checkpoint)
        own_limit = _own_limit(tokenizer)
    lowercases = scorer is not None and bool(scorer[0].do_lower_case)
    model.config.return_dict = True  # its answers are the same, and have names
    warnings += restore_own_tokenizer(tokenizer, directory, lowercases=lowercases)
    require_finite(model, checkpoint)
    require_positions(model, checkpoint)
    limit = token_limit(
        model.base_model,
        config,
        own_limit,
        max_tokens,
        checkpoint,
        special_tokens=tokenizer.num_special_tokens_to_add(pair=record.takes_pairs),
    )
    if scorer is not None:
        scorer[0].max_seq_length = limit  # the reference must cut where the artifact does
    left_out = trim(model.base_model, tokenizer, trimming, max_tokens=limit, checkpoint=checkpoint)
    has_types = record.takes_pairs and _needs_types(model, tokenizer)
    inputs = (*INPUTS, TYPE_IDS) if has_types else INPUTS
    return Checkpoint(
        head=head,
        model=model,
        graph=LogitsGraph(model),
        inputs=inputs,
        output=LOGITS,
        reference=_Reference(model, tokenizer, limit, scorer),
        write_tokenizer=partial(write_tokenizer, tokenizer, limit, has_types=has_types),
        architecture=architecture_of(model, model.config),
        max_tokens=limit,
        dimension=len(labels.names),
        source=source_of(directory, checkpoint, library="transformers"),
        trimming=left_out,
        warnings=warnings,
        labels=labels.names,
        activation=record.activation or labels.activation,
        scored_label=labels.scored,
    )


class _Reference:
    """The logits of transformers' model, or for pairs of sentence-transformers' CrossEncoder."""

    def __init__(self, model: Any, tokenizer: Any, max_tokens: int, scorer: Any) -> None:
        self._model, self._tokenizer, self._max_tokens = model, tokenizer, max_tokens
        self._scorer = scorer
        self._arguments = set(inspect.signature(model.forward).parameters)

    def __call__(self, inputs: Sequence[str | Pair]) -> list[NDArray[np.float32]]:
        logits = []
        for item in inputs:
            if self._scorer is not None and not isinstance(item, str):
                logits.append(self._scored(item))
                continue
            # Pass lists: transformers would turn a single pair with an empty second text into one
            # text.
            texts = [[item]] if isinstance(item, str) else [[text] for text in item]
            features = self._tokenizer(
                *texts, truncation=True, max_length=self._max_tokens, return_tensors="pt"
            )
            # A tokenizer may make more than the model takes, such as token types for DistilBERT.
            taken = {name: tensor for name, tensor in features.items() if name in self._arguments}
            with torch.no_grad():
                logits.append(self._model(**taken).logits[0].numpy())
        return logits

    def _scored(self, pair: Pair) -> NDArray[np.float32]:
        found = self._scorer.predict(
            [pair], activation_fn=torch.nn.Identity(), prompt="", show_progress_bar=False
        )
        return np.asarray(found, np.float32).reshape(-1)


def _require_no_default_prompt(directory: Path, checkpoint: str) -> None:
    settings = read_settings(directory) or {}
    name = settings.get("default_prompt_name")
    if name is not None and (settings.get("prompts") or {}).get(name):
        msg = (
            f"{checkpoint} puts its prompt {name!r} before the first text of every pair, which "
            "Lanner does not support: remove default_prompt_name from "
            f"{directory / SETTINGS_FILE}, and put the prompt before the texts yourself"
        )
        raise UnsupportedError(msg)


def _tokenizer(directory: Path, checkpoint: str) -> Any:
    from transformers import AutoTokenizer  # noqa: PLC0415

    with loading("transformers", f"the tokenizer of {checkpoint}"):
        tokenizer = AutoTokenizer.from_pretrained(
            directory, trust_remote_code=False, local_files_only=True
        )
    require_tokenizer(tokenizer, checkpoint)
    return tokenizer


def _model(directory: Path, checkpoint: str, head: str) -> tuple[Any, list[str]]:
    """Return the model, and warnings about weights that it does not use."""
    import transformers  # noqa: PLC0415

    model_class = getattr(transformers, f"AutoModel{CLASS_OF_TASK[HEADS[head].task]}")
    model, info = load_transformers(model_class, directory, checkpoint)
    # transformers initializes missing weights at random.
    if missing := sorted(info["missing_keys"]):
        msg = (
            f"{checkpoint} lacks {len(missing)} weights of the head {head!r} "
            f"({shown_names(missing)}): fine-tune it for that first, or pass the --head that it "
            "was trained for"
        )
        raise CheckpointError(msg)
    warnings = require_all_used(info["unexpected_keys"], model, checkpoint, drops_head=False)
    # Half-precision weights are widened, not rounded: the artifact's reference is float32.
    return model.float().eval(), warnings


def _own_limit(tokenizer: Any) -> Any:
    # For a tokenizer without a limit, transformers returns a huge number.
    limit = tokenizer.model_max_length
    return None if isinstance(limit, int | float) and limit >= 1_000_000 else limit


def _needs_types(model: Any, tokenizer: Any) -> bool:
    """Return whether the model takes the token types of a pair, which makes them a graph input."""
    is_made = TYPE_IDS in tokenizer.model_input_names
    is_taken = TYPE_IDS in inspect.signature(model.forward).parameters
    if not is_made or not is_taken or getattr(model.config, "type_vocab_size", 0) < 2:
        return False
    return any(tokenizer("a", "b")[TYPE_IDS])
