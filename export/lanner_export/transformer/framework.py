"""Loading a checkpoint in the framework that saved it, whose errors become Lanner's."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lanner.errors import CheckpointError
from lanner_export.checkpoint.checkpoint import require_tokenizer
from lanner_export.checkpoint.config import first_sentence
from lanner_export.checkpoint.weights import shown_names
from lanner_export.graph.quiet import quiet


@contextmanager
def loading(library: str, what: str) -> Iterator[None]:
    """Let a library load something, without its output on the terminal.

    Args:
        library: Its name.
        what: The thing to load, for the message.

    Raises:
        CheckpointError: It fails; the message has the first sentence of its error.
    """
    try:
        with quiet():
            yield
    except Exception as error:  # whatever the framework met in a foreign directory
        msg = f"{library} cannot load {what}: {first_sentence(error)}"
        raise CheckpointError(msg) from error


def load_transformers(kind: Any, directory: Path, checkpoint: str) -> tuple[Any, dict[str, Any]]:
    """Load a model of transformers, with the names of missing and of unused weights.

    Args:
        kind: Its class there.
        directory: The checkpoint.
        checkpoint: The name of the checkpoint, for messages.

    Returns:
        The model, and `missing_keys` and `unexpected_keys`.

    Raises:
        CheckpointError: The class cannot load it, or weights have other shapes than its
            configuration says.
    """
    with loading("transformers", checkpoint):
        model, info = kind.from_pretrained(
            directory,
            trust_remote_code=False,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused here, by their names
        )
    found = info["mismatched_keys"]  # in transformers 5 with their shapes
    if names := sorted(key if isinstance(key, str) else key[0] for key in found):
        msg = (
            f"{checkpoint} has weights of other sizes than its config.json says "
            f"({shown_names(names)}): give config.json the sizes that it was trained with, and "
            "id2label a name for each label"
        )
        raise CheckpointError(msg)
    return model, info


def load_sentence_transformers(kind: Callable[..., Any], directory: Path, checkpoint: str) -> Any:
    """Load a model of sentence-transformers in float32 on the CPU.

    Args:
        kind: Its class there.
        directory: The checkpoint.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        CheckpointError: The class cannot load it, or it has no tokenizer.
        UnsupportedError: The tokenizer has no fast form.
    """
    with loading("sentence-transformers", checkpoint):
        model = kind(
            str(directory),
            device="cpu",
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True},
        )
    require_tokenizer(model.tokenizer, checkpoint)
    # Half-precision weights are widened, not rounded: the artifact's reference is float32.
    return model.float().eval()


def prompts_of(model: Any) -> dict[str, str]:
    """Return the prompts of a model of sentence-transformers, without those that it leaves open."""
    return {name: text for name, text in (model.prompts or {}).items() if text is not None}
