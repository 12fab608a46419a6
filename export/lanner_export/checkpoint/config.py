"""The configuration of a checkpoint's transformer, and what follows from it."""

import math
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import Architecture
from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.checkpoint.modules import read_json

#: Fields, and words in names of fields, for code other than transformers': other positions,
#: products, normalizations or layers.
_OTHER_FIELDS = frozenset(
    {"feed_forward_type", "activation_function", "qk_norm", "qk_layernorm", "pre_norm"}
)
_OTHER_WORDS = frozenset(
    {
        *("alibi", "glu", "geglu", "swiglu", "rotary", "rope", "rms", "rmsnorm", "prenorm"),
        *("moe", "expert", "experts", "lora", "causal", "sliding"),
    }
)
#: Fields for the size of a model, with the most that any encoder has: transformers builds a model
#: of that size before it reads the weights.
_SIZE = re.compile(r"(^|_)(size|dim|heads?|embeddings)$")
_LAYERS = re.compile(r"(^|_)layers?$")
_LARGEST_SIZE, _MOST_LAYERS = 2**24, 1_000
#: Models that read in both directions and were not pretrained with masked words -> their class in
#: transformers that holds the encoder alone, where AutoModel loads a decoder with it.
_OTHER_ENCODERS = {
    "t5": "T5EncoderModel",
    "mt5": "MT5EncoderModel",
    "umt5": "UMT5EncoderModel",
    "gemma3_text": "AutoModel",  # EmbeddingGemma
}


def read_config(directory: Path, checkpoint: str) -> Any:
    """Return the configuration of an encoder that transformers itself implements.

    Raises:
        CheckpointError: The configuration is missing or broken.
        UnsupportedError: The model needs code of its own, or is not an encoder.
    """
    from transformers import AutoConfig  # noqa: PLC0415

    path = directory / "config.json"
    raw = read_json(path, f"{checkpoint} is not a checkpoint")
    # A model type that transformers also knows would load, and compute something else.
    _require_no_code(raw, checkpoint)
    _require_floats(raw, checkpoint)
    _require_plausible(raw, path)
    path_of_tokenizer = directory / "tokenizer_config.json"
    tokenizer: dict[str, Any] = {}
    if path_of_tokenizer.is_file():
        tokenizer = read_json(path_of_tokenizer, "a tokenizer's settings")
        _require_no_code(tokenizer, checkpoint)
    try:
        config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        model_type = raw.get("model_type")
        msg = (
            f"transformers cannot read {path} (model_type {model_type!r}): {first_sentence(error)}"
        )
        raise CheckpointError(msg) from error
    _require_encoder(config, checkpoint)
    _require_own_fields(raw, config, path)
    kind = str(
        tokenizer.get("tokenizer_class") or raw.get("tokenizer_class") or "RoFormerTokenizer"
    )
    if config.model_type == "roformer" and kind.startswith("RoFormerTokenizer"):
        msg = (
            f"{checkpoint} has RoFormer's own tokenizer, which looks Chinese words up in a "
            "dictionary of rjieba, and which no tokenizer.json can hold: if the checkpoint was "
            "trained on single characters, save a BertTokenizerFast of its vocab.txt beside it"
        )
        raise UnsupportedError(msg)
    return config


def _require_no_code(content: dict[str, Any], checkpoint: str) -> None:
    own = content.get("auto_map")
    if not own:
        return
    name = next(iter(own.values()), "auto_map") if isinstance(own, dict) else own
    name = own.get("AutoModel", name) if isinstance(own, dict) else name
    msg = (
        f"{checkpoint} needs code of its own ({name}), and Lanner runs no code from "
        "checkpoints: use one that transformers itself carries"
    )
    raise UnsupportedError(msg)


def _require_floats(raw: dict[str, Any], checkpoint: str) -> None:
    quantized = raw.get("quantization_config")
    if quantized:
        method = quantized.get("quant_method") if isinstance(quantized, dict) else None
        msg = (
            f"{checkpoint} has weights that {method or 'another library'} quantized, which Lanner "
            "does not read: load it, call dequantize(), save that, and export it; --precision int8 "
            "quantizes it again"
        )
        raise UnsupportedError(msg)


def _require_plausible(raw: dict[str, Any], path: Path) -> None:
    classes = raw.get("architectures") or []
    if not isinstance(classes, list) or not all(isinstance(one, str) for one in classes):
        msg = f"{path} has the architectures {str(classes)[:100]}, which must be names of classes"
        raise CheckpointError(msg)
    for name, value in raw.items():
        most = {bool(_SIZE.search(name)): _LARGEST_SIZE, bool(_LAYERS.search(name)): _MOST_LAYERS}
        if isinstance(value, int) and value > most.get(True, value):
            msg = f"{path} says {name} {str(value)[:40]}, which is more than any encoder has"
            raise CheckpointError(msg)


def _require_own_fields(raw: dict[str, Any], config: Any, path: Path) -> None:
    """Refuse fields that the model's class does not know, and that would change its answers."""
    known = {*type(config)().to_dict(), *type(config).attribute_map}
    for name, value in sorted(raw.items()):
        words = set(name.split("_"))
        if name in known or not value or ("rope" in words and _turns_by(config, value)):
            continue
        if name in _OTHER_FIELDS or words & _OTHER_WORDS:
            msg = (
                f"{path} has the field {name} {value!r}, which the {config.model_type} models of "
                "transformers do not know and other code computes with: use a checkpoint that "
                "transformers itself carries"
            )
            raise UnsupportedError(msg)


def _turns_by(config: Any, value: Any) -> bool:
    """True if transformers 5 moved all numbers of a field of version 4 to its rope_parameters."""
    numbers = _numbers(value)
    return bool(numbers) and numbers <= _numbers(getattr(config, "rope_parameters", None))


def _numbers(content: Any) -> set[float]:
    if isinstance(content, dict):
        return {number for item in content.values() for number in _numbers(item)}
    is_number = isinstance(content, int | float) and not isinstance(content, bool)
    return {float(content)} if is_number else set()


def require_positions(model: Any, checkpoint: str) -> None:
    """Refuse a kind of positions that the config names and the model's class does not compute.

    Raises:
        UnsupportedError: transformers would silently leave them out.
    """
    kind = getattr(model.config, "position_embedding_type", None) or "absolute"
    modules = list(model.modules())
    is_relative = any(hasattr(module, "distance_embedding") for module in modules)
    is_rotary = any("Rotary" in type(module).__name__ for module in modules)
    is_computed = {
        "absolute": True,
        "relative_key": is_relative,
        "relative_key_query": is_relative,
        "rotary": is_rotary,
    }
    if not is_computed.get(kind, False):
        msg = (
            f"{checkpoint} has the position_embedding_type {kind!r}, which transformers "
            f"{version('transformers')} does not compute for {model.config.model_type} models: "
            "export it with a version that does"
        )
        raise UnsupportedError(msg)


def _require_encoder(config: Any, checkpoint: str) -> None:
    from transformers.models.auto.modeling_auto import (  # noqa: PLC0415
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    # Models pretrained with masked words read in both directions.
    is_encoder = config.model_type in (*MODEL_FOR_MASKED_LM_MAPPING_NAMES, *_OTHER_ENCODERS)
    decodes = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    if config.model_type in _OTHER_ENCODERS:
        # EmbeddingGemma is a Gemma that reads in both directions.
        decodes = encoder_class(config) == "AutoModel" and not config.use_bidirectional_attention
    if not is_encoder or decodes:
        msg = (
            f"{checkpoint} is a {config.model_type} model, which is not an encoder: Lanner exports "
            "BERT and its family (BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ...)"
        )
        raise UnsupportedError(msg)


def encoder_class(config: Any) -> str:
    """Return the name of the class of transformers that loads the encoder of a checkpoint alone."""
    return _OTHER_ENCODERS.get(config.model_type, "AutoModel")


def require_encoder_head(config: Any, head: str, checkpoint: str) -> None:
    """Refuse a head that transformers puts on a decoder, or that no class of it has.

    Raises:
        UnsupportedError: The model has vectors alone.
    """
    if config.model_type in _OTHER_ENCODERS:
        msg = (
            f"{checkpoint} is a {config.model_type} model, and of those Lanner exports the encoder "
            f"alone: its heads are embed and tokens, not {head}"
        )
        raise UnsupportedError(msg)


def architecture_of(model: Any, config: Any) -> Architecture:
    """Return the manifest's description of a transformer.

    Raises:
        UnsupportedError: The model has no attention layers.
    """
    from optimum.utils.normalized_config import (  # noqa: PLC0415
        NormalizedConfigManager,
        NormalizedTextConfig,
    )

    try:
        normalized = NormalizedConfigManager.get_normalized_config_class(config.model_type)(config)
    except KeyError:  # newer than optimum's table: the common attribute names
        normalized = NormalizedTextConfig(config)
    try:
        return Architecture(
            model_type=config.model_type,
            layers=normalized.num_layers,
            heads=normalized.num_attention_heads,
            hidden_size=normalized.hidden_size,
            vocabulary_size=normalized.vocab_size,
            parameters=sum(parameter.numel() for parameter in model.parameters()),
        )
    except AttributeError as error:  # no attention, for example
        msg = f"{config.model_type} is not an encoder of BERT's kind: {first_sentence(error)}"
        raise UnsupportedError(msg) from None


def token_limit(
    encoder: Any,
    config: Any,
    own: Any,
    wanted: int | None,
    checkpoint: str,
    *,
    special_tokens: int,
) -> int:
    """Return the longest input that the checkpoint takes.

    Args:
        encoder: The transformer, without its head.
        config: Its configuration.
        own: The checkpoint's own limit as it says it, if any.
        wanted: A limit that replaces it, or None.
        checkpoint: The name of the checkpoint, for messages.
        special_tokens: The number of special tokens of an input.

    Raises:
        CheckpointError: The checkpoint's own limit is no number.
        UnsupportedError: The limit is unknown, leaves no room for a text, or exceeds the positions
            of the transformer.
    """
    is_number = isinstance(own, int) or (isinstance(own, float) and math.isfinite(own))
    if own is not None and not is_number:
        msg = (
            f"{checkpoint} limits an input to {str(own)[:100]!r}, which must be a number of tokens"
        )
        raise CheckpointError(msg)
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    padding_id = position_padding_id(encoder)
    if positions and padding_id is not None:
        positions -= padding_id + 1
    known = [n for n in (own, positions or None) if n is not None]
    if wanted is None and not known:
        msg = f"{checkpoint} does not say how long an input may be: pass --max-tokens"
        raise UnsupportedError(msg)
    limit = int(min(known)) if wanted is None else wanted
    least = special_tokens + 1
    if limit < least or (positions and limit > positions):
        what = "its own limit" if wanted is None else "--max-tokens"
        most = f"to {positions}" if positions else "on"
        msg = f"{what} must be from {least} {most} for {checkpoint}, not {limit}"
        raise UnsupportedError(msg)
    return limit


def position_padding_id(encoder: Any) -> int | None:
    """Return the padding id after which positions begin, as in RoBERTa, or None."""
    table = getattr(getattr(encoder, "embeddings", None), "position_embeddings", None)
    padding_id = getattr(table, "padding_idx", None)
    return None if padding_id is None else int(padding_id)


def first_sentence(error: Exception) -> str:
    """Return the first sentence of a framework's error, without its details."""
    text = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, KeyError):  # its text is the key alone
        text = f"{text} is missing"
    return text.partition(". ")[0][:300]
