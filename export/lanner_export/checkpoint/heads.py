"""The head of a checkpoint, and the meaning of its logits."""

import re
from pathlib import Path
from typing import Any, NamedTuple

from lanner.artifact.heads import HEADS, AnswerKind, Head
from lanner.errors import CheckpointError, UnsupportedError
from lanner.text.tokenization import check_texts
from lanner_export.checkpoint.config import read_config
from lanner_export.checkpoint.modules import (
    MODULES_FILE,
    is_sparse_encoder,
    is_token_encoder,
    read_json,
    read_settings,
)

#: Task -> its default head; the later of two heads with one task.
_HEAD_OF_TASK = {record.task: record.head for record in HEADS.values()}
#: Task -> the end of the names of transformers' classes for it.
CLASS_OF_TASK = {
    "text-classification": "ForSequenceClassification",
    "token-classification": "ForTokenClassification",
}
#: The end of the name of a checkpoint's class -> its head. Pretraining leaves an encoder.
_HEAD_OF_CLASS = {
    **{name: _HEAD_OF_TASK[task] for task, name in CLASS_OF_TASK.items()},
    "ForPreTraining": Head.EMBED,
    "ForMaskedLM": Head.EMBED,
    "ForNextSentencePrediction": Head.EMBED,
    "ForCausalLM": Head.EMBED,
}
#: Activations of a cross-encoder, by the last part of their name in torch.
_ACTIVATION_OF_CLASS = {"Sigmoid": "sigmoid", "Identity": "identity"}


class Labels(NamedTuple):
    """The meaning of a checkpoint's logits.

    Attributes:
        names: A name for each logit, in order.
        activation: One of `lanner.artifact.activation.ACTIVATIONS`.
        scored: The label whose score the head `score` returns, or None if there is only one.
    """

    names: list[str]
    activation: str
    scored: str | None


def is_cross_encoder(directory: Path) -> bool:
    """Return whether sentence-transformers, in any version, saved a cross-encoder there."""
    settings = read_settings(directory)
    if settings is not None:  # before version 6, it stands in the transformer's own config
        return bool(settings.get("model_type") == "CrossEncoder")
    config = directory / "config.json"
    return config.is_file() and _own_activation(directory) is not None


def infer_head(directory: Path, checkpoint: str) -> Head:
    """Return the head that a checkpoint was trained for.

    Args:
        directory: The checkpoint.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        CheckpointError: The configuration is missing or broken.
        UnsupportedError: The model needs code of its own, is not an encoder, or has a head that
            Lanner does not export.
    """
    is_scorer = is_cross_encoder(directory)
    if is_sparse_encoder(directory):
        return Head.SPARSE
    if is_token_encoder(directory):
        return Head.TOKENS
    if (directory / MODULES_FILE).is_file() and not is_scorer:
        return Head.EMBED
    config = read_config(directory, checkpoint)
    head = Head.CLASSIFY if is_scorer else _head_of_architecture(config)
    if head is None:
        msg = (
            f"{checkpoint} is a {config.architectures[0]}, whose head Lanner does not export: pass "
            "--head embed to export its encoder alone"
        )
        raise UnsupportedError(msg)
    # A single number is a score, not a label: a cross-encoder or a fine-tuned regression.
    return Head.SCORE if head is Head.CLASSIFY and config.num_labels == 1 else head


def require_trained_for(config: Any, head: str, checkpoint: str) -> None:
    """Check that labels of texts are not read as labels of tokens, or vice versa.

    The weights of both have the same names and shapes, so they would load.

    Raises:
        CheckpointError: The checkpoint's class is for the other kind.
    """
    trained = _head_of_architecture(config)
    if trained not in (None, Head.EMBED) and HEADS[trained].task != HEADS[head].task:
        msg = (
            f"{checkpoint} is a {config.architectures[0]}, which has the head {trained!r} and not "
            f"{head!r}: pass the --head that it was trained for"
        )
        raise CheckpointError(msg)


def labels_of(
    directory: Path, config: Any, head: str, checkpoint: str, positive_label: str | None
) -> Labels:
    """Return the meaning of a checkpoint's logits for a head.

    The activation is that of transformers' text-classification pipeline, or a cross-encoder's own
    if it has one label.

    Args:
        directory: The checkpoint.
        config: The configuration of its transformer.
        head: The head.
        checkpoint: The name of the checkpoint, for messages.
        positive_label: The label whose probability `score` returns; None for the second of two.

    Raises:
        CheckpointError: The labels are not numbered from 0.
        InputError: A label is not valid Unicode.
        UnsupportedError: The activation is unknown, two labels have the same name, the label does
            not exist, or `score` would have to guess one.
    """
    if set(config.id2label) != set(range(config.num_labels)):
        numbers = ", ".join(map(str, sorted(config.id2label)))
        msg = (
            f"{directory / 'config.json'} numbers its {config.num_labels} labels {numbers}: "
            "number id2label from 0 on"
        )
        raise CheckpointError(msg)
    names = [str(config.id2label[i]) for i in range(config.num_labels)]
    check_texts(names)
    if len(set(names)) < len(names):
        double = next(name for name in names if names.count(name) > 1)
        msg = f"{checkpoint} has two labels {double!r}: give each its own name in id2label"
        raise UnsupportedError(msg)
    activation = _pipeline_activation(config)
    if len(names) == 1 and (own := _own_activation(directory)) is not None:
        kind = own.rpartition(".")[2]
        if not own.startswith("torch.nn.modules.") or kind not in _ACTIVATION_OF_CLASS:
            msg = (
                f"{checkpoint} has the activation {own!r}: "
                f"Lanner has {', '.join(_ACTIVATION_OF_CLASS)} of torch"
            )
            raise UnsupportedError(msg)
        activation = _ACTIVATION_OF_CLASS[kind]
    scored = (
        _scored_label(names, checkpoint, positive_label)
        if HEADS[head].answer is AnswerKind.NUMBER
        else None
    )
    return Labels(names, activation, scored)


def _scored_label(names: list[str], checkpoint: str, positive_label: str | None) -> str | None:
    if positive_label is not None and positive_label not in names:
        msg = f"{checkpoint} has no label {positive_label!r}: it has {', '.join(names)}"
        raise UnsupportedError(msg)
    if len(names) == 1:
        return None
    if positive_label is None and len(names) > 2:
        msg = (
            f"{checkpoint} has {len(names)} labels ({', '.join(names[:5])}"
            f"{', ...' if len(names) > 5 else ''}): pass --positive-label with the one whose "
            "probability is the score, or --head classify"
        )
        raise UnsupportedError(msg)
    return positive_label or names[1]


def _head_of_architecture(config: Any) -> Head | None:
    """Return the head of a checkpoint's class; None if Lanner does not export it."""
    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    purpose = re.search(r"For[A-Z]\w*$", architecture)  # which RoFormer has not
    return _HEAD_OF_CLASS.get(purpose[0]) if purpose else Head.EMBED


def _pipeline_activation(config: Any) -> str:
    kind = getattr(config, "problem_type", None)
    if kind == "regression":
        return "identity"
    if kind == "multi_label_classification" or config.num_labels == 1:
        return "sigmoid"
    return "softmax"


def _own_activation(directory: Path) -> str | None:
    """Return the name of a cross-encoder's activation, from any of three places."""
    raw = read_json(directory / "config.json", f"{directory} is not a checkpoint")
    nested = raw.get("sentence_transformers")
    found = (
        (read_settings(directory) or {}).get("activation_fn"),
        nested.get("activation_fn") if isinstance(nested, dict) else None,
        raw.get("sbert_ce_default_activation_function"),
    )
    return next((str(name) for name in found if name is not None), None)
