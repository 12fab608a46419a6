"""Loading a checkpoint: what it is, whether Lanner exports it, and the framework's own model of it.

sentence-transformers loads both kinds: its own directories with their modules, and plain
transformers checkpoints, to which it adds mean pooling, as the field does.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanner.errors import CheckpointError, UnsupportedError
from lanner.manifest import Architecture, file_sha256
from lanner.similarity import SIMILARITY_NAMES
from lanner_export.modules import Modules, read_json, read_modules
from lanner_export.quiet import quiet

#: optimum's tasks that are another head than vectors.
_HEAD_OF_TASK = {"text-classification": "classify", "token-classification": "tag"}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, loaded in float32 on the CPU and ready to be traced.

    Attributes:
        model: The `SentenceTransformer`; also the reference that the artifact must reproduce.
        architecture: What its transformer is.
        max_tokens: Longest input, special tokens included.
        dimension: Width of the vectors.
        similarity: The similarity that it was trained for.
        prompts: Its named prompts.
        default_prompt_name: The prompt that it uses without being asked, or None.
        source: Where it came from, for the manifest.
    """

    model: Any
    architecture: Architecture
    max_tokens: int
    dimension: int
    similarity: str
    prompts: dict[str, str]
    default_prompt_name: str | None
    source: dict[str, Any]


def load_checkpoint(
    checkpoint: str, *, head: str = "auto", max_tokens: int | None = None
) -> Checkpoint:
    """Loads a checkpoint directory, or a hub name where there is network.

    Args:
        checkpoint: The directory or name.
        head: What the model is to answer; ``"auto"`` decides from the checkpoint.
        max_tokens: A longest input that replaces the checkpoint's own.

    Raises:
        CheckpointError: It is missing, incomplete or unreadable.
        UnsupportedError: Its architecture, head or a module of it cannot be exported.
    """
    directory = _local_directory(checkpoint)
    modules = read_modules(directory)
    config = _config(modules.transformer, checkpoint)
    _require_encoder(config, checkpoint)
    _require_embed(head, modules, config, checkpoint)
    modules.require_weights()
    model = _sentence_transformer(directory, checkpoint)
    _require_complete_weights(modules.transformer, checkpoint)
    _require_plain_prompts(model, checkpoint)
    similarity = str(model.similarity_fn_name or "cosine")
    if similarity not in SIMILARITY_NAMES:
        msg = f"{checkpoint} was trained for the similarity {similarity!r}, which Lanner has not"
        raise UnsupportedError(msg)
    return Checkpoint(
        model=model,
        architecture=_architecture(model, config),
        max_tokens=_max_tokens(model, config, max_tokens, checkpoint),
        dimension=_dimension(model),
        similarity=similarity,
        prompts=dict(model.prompts or {}),
        default_prompt_name=model.default_prompt_name,
        source=_source(directory, checkpoint, library=modules.library),
    )


def _local_directory(checkpoint: str) -> Path:
    path = Path(checkpoint)
    if path.is_dir():
        return path
    if path.exists():
        msg = f"{checkpoint} is a file: give the directory that holds the checkpoint's config.json"
        raise CheckpointError(msg)
    is_hub_name = checkpoint.count("/") <= 1 and not checkpoint.startswith((".", "/", "~"))
    if not is_hub_name:
        msg = f"there is no checkpoint directory {checkpoint}: check the path"
        raise CheckpointError(msg)
    from huggingface_hub import snapshot_download  # noqa: PLC0415 (slow, and only for hub names)

    try:
        with quiet():
            return Path(
                snapshot_download(
                    checkpoint, allow_patterns=["*.json", "*.safetensors", "*.txt", "*.model"]
                )
            )
    except Exception as error:  # the hub client raises many unrelated types
        msg = (
            f"{checkpoint!r} is neither a directory here nor a model that the hub could be asked "
            f"for ({type(error).__name__}): check the path, or the name and the network"
        )
        raise CheckpointError(msg) from error


def _config(directory: Path, checkpoint: str) -> Any:
    from transformers import AutoConfig  # noqa: PLC0415
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES  # noqa: PLC0415

    path = directory / "config.json"
    raw = read_json(path, f"{checkpoint} is not a checkpoint")
    if "auto_map" in raw and str(raw.get("model_type")) not in CONFIG_MAPPING_NAMES:
        own = raw["auto_map"]
        name = own.get("AutoModel", "auto_map") if isinstance(own, dict) else own
        msg = (
            f"{checkpoint} needs code of its own ({name}), and Lanner runs no code from "
            "checkpoints: use one that transformers itself carries"
        )
        raise UnsupportedError(msg)
    try:
        return AutoConfig.from_pretrained(directory, trust_remote_code=False)
    except Exception as error:
        model_type = raw.get("model_type")
        msg = (
            f"transformers cannot read {path} (model_type {model_type!r}): {_first_sentence(error)}"
        )
        raise CheckpointError(msg) from error


def _require_encoder(config: Any, checkpoint: str) -> None:
    from transformers.models.auto.modeling_auto import (  # noqa: PLC0415
        MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    )

    # What is pretrained by filling in masked words reads in both directions.
    is_encoder = config.model_type in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    decodes = getattr(config, "is_decoder", False) or getattr(config, "is_encoder_decoder", False)
    if not is_encoder or decodes:
        msg = (
            f"{checkpoint} is a {config.model_type} model, which is not an encoder: Lanner exports "
            "BERT and its family (BERT, RoBERTa, DistilBERT, MPNet, ELECTRA, ...)"
        )
        raise UnsupportedError(msg)


def _require_embed(head: str, modules: Modules, config: Any, checkpoint: str) -> None:
    if head == "auto":
        is_plain = modules.library == "transformers"
        head = _head_of(config) if is_plain else "embed"
    if head != "embed":
        msg = (
            f"{checkpoint} answers with the head {head!r}, and this Lanner exports only 'embed': "
            "pass --head embed to take its encoder's mean-pooled vectors"
        )
        raise UnsupportedError(msg)


def _head_of(config: Any) -> str:
    import transformers  # noqa: PLC0415
    from optimum.exporters.tasks import TasksManager  # noqa: PLC0415

    architecture = next(iter(getattr(config, "architectures", None) or []), "")
    model_class = getattr(transformers, architecture, None)
    task = TasksManager.infer_task_from_model(model_class) if model_class else ""
    return _HEAD_OF_TASK.get(task, "embed")


def _sentence_transformer(directory: Path, checkpoint: str) -> Any:
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    try:
        with quiet():
            model = SentenceTransformer(
                str(directory), device="cpu", trust_remote_code=False, local_files_only=True
            )
    except Exception as error:  # whatever the framework met in a foreign directory
        msg = f"sentence-transformers cannot load {checkpoint}: {_first_sentence(error)}"
        raise CheckpointError(msg) from error
    # Without tokenizer files, transformers 5 makes one that knows nothing but special tokens.
    if len(model.tokenizer) <= len(set(model.tokenizer.all_special_ids)):
        msg = f"{checkpoint} has no tokenizer: expected tokenizer.json beside its config.json"
        raise CheckpointError(msg)
    if not getattr(model.tokenizer, "is_fast", False):
        msg = (
            f"{checkpoint} has no tokenizer.json and its tokenizer has no fast form: "
            "save one with PreTrainedTokenizerFast.save_pretrained"
        )
        raise UnsupportedError(msg)
    # Half-precision weights are widened, not rounded: the artifact's reference is float32.
    return model.float().eval()


def _require_complete_weights(directory: Path, checkpoint: str) -> None:
    """Refuses a checkpoint whose missing weights transformers would draw at random."""
    from transformers import AutoModel  # noqa: PLC0415

    with quiet():
        _, info = AutoModel.from_pretrained(
            directory, trust_remote_code=False, use_safetensors=True, output_loading_info=True
        )
    # The pooler feeds BERT's next-sentence task; no vector here is made with it.
    missing = sorted(key for key in info["missing_keys"] if "pooler" not in key)
    if missing:
        msg = (
            f"{checkpoint} lacks {len(missing)} weights of its transformer ({missing[0]}, ...): "
            "it is incomplete or of another architecture than its config.json says"
        )
        raise CheckpointError(msg)


def _require_plain_prompts(model: Any, checkpoint: str) -> None:
    for module in model:
        if getattr(module, "include_prompt", True) is False:
            msg = (
                f"{checkpoint} excludes its prompts from pooling, which Lanner does not export yet"
            )
            raise UnsupportedError(msg)


def _dimension(model: Any) -> int:
    # Renamed in sentence-transformers 6; the old name warns there.
    method = getattr(model, "get_embedding_dimension", None)
    return int((method or model.get_sentence_embedding_dimension)())


def _architecture(model: Any, config: Any) -> Architecture:
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
        msg = f"{config.model_type} is not an encoder of BERT's kind: {_first_sentence(error)}"
        raise UnsupportedError(msg) from None


def _max_tokens(model: Any, config: Any, wanted: int | None, checkpoint: str) -> int:
    positions = int(getattr(config, "max_position_embeddings", 0) or 0)
    table = getattr(getattr(model[0].auto_model, "embeddings", None), "position_embeddings", None)
    padding_index = getattr(table, "padding_idx", None)
    if positions and padding_index is not None:
        positions -= int(padding_index) + 1  # RoBERTa counts positions from after its padding
    own = min(n for n in (model.max_seq_length, positions or None) if n is not None)
    if wanted is not None and (wanted < 3 or (positions and wanted > positions)):
        msg = f"--max-tokens must be from 3 to {positions} for {checkpoint}, not {wanted}"
        raise UnsupportedError(msg)
    limit = int(own) if wanted is None else wanted
    model.max_seq_length = limit  # the reference must cut where the artifact does
    return limit


def _source(directory: Path, checkpoint: str, *, library: str) -> dict[str, Any]:
    weights = sorted(directory.rglob("*.safetensors"))
    return {
        "checkpoint": checkpoint,
        "library": library,
        "weights_sha256": {
            path.relative_to(directory).as_posix(): file_sha256(path) for path in weights
        },
    }


def _first_sentence(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text.partition(". ")[0][:300]
