"""A loaded checkpoint, in the form that the rest of an export needs."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import (
    Architecture,
    LateInteraction,
    TokenizerRecord,
    file_sha256,
)
from lanner.errors import CheckpointError, UnsupportedError
from lanner.text.tokenization import Pair
from lanner.vectors.similarity import SIMILARITY_NAMES
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.quiet import quiet
from lanner_export.graph.tracing import LogitsGraph, SentenceGraph, TermsGraph, TokensGraph

#: Returns the answers of the checkpoint in its own framework, one input at a time: a vector [dim]
#: for the heads `embed` and `sparse`, logits [labels] for `score` and `classify`, and logits
#: [tokens, labels] of the first `max_tokens` tokens, special ones included, for `tag`, and vectors
#: [tokens, dim] for `tokens`: of a document, and behind them of a query if it is read otherwise.
#: All are float32.
Reference = Callable[[Sequence[str | Pair]], list[NDArray[np.float32]]]


#: The files of a hub name that an export reads.
_OF_HUB = ("*.json", "*.safetensors", "*.txt", "*.model")


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint, loaded in float32 on the CPU and ready to be traced.

    Attributes:
        head: The head.
        model: The framework's model; None for static vectors.
        graph: The source of the ONNX graph: a module to trace, from token ids to the output,
            pooling included, or the table of static vectors.
        inputs: Names of the graph's inputs, in the order of its arguments.
        output: Name of the graph's output.
        reference: The answers that the artifact must reproduce.
        write_tokenizer: Writes the tokenizer to a path and returns its record.
        architecture: The description of the transformer.
        max_tokens: Longest input, special tokens included; None for no limit.
        dimension: Width of the output.
        source: The origin, for the manifest.
        trimming: The trimmed parts, for the manifest; see `lanner_export.trim.trimming`.
        warnings: Sentences that the user should read.
        source_reference: The answers of the untrimmed checkpoint, in the form of `reference`:
            vectors with all dimensions, and tokens of its own tokenizer. It is loaded at the first
            call. None if nothing was trimmed.
        similarity: The similarity that the vectors were trained for.
        prompts: The named prompts.
        default_prompt_name: The prompt that is used by default, or None.
        pools_prompt: True if the tokens of a prompt are pooled, False if they are only read.
        labels: The labels of the logits, in order.
        activation: One of `lanner.artifact.activation.ACTIVATIONS`.
        scored_label: The label whose score the head `score` returns, if there are several.
        takes_pairs: False if a pair of texts means nothing to it, though its head takes pairs.
        empty_answer: The answer to a text without tokens; zeros if it is empty.
        max_active_dims: The most terms that the head `sparse` gives a text; None for no limit.
        query_weights: The weight of each term in a query that is read without inference, or None.
        late_interaction: How the head `tokens` reads queries and documents, or None.
        task: The task whose texts it reads, if others take another way; else None.
        ways: The checkpoints of the other tasks, by task.
    """

    head: str
    model: Any
    graph: SentenceGraph | LogitsGraph | TermsGraph | TokensGraph | LookupTable
    inputs: tuple[str, ...]
    output: str
    reference: Reference
    write_tokenizer: Callable[[Path], TokenizerRecord]
    architecture: Architecture
    max_tokens: int | None
    dimension: int
    source: dict[str, Any]
    trimming: dict[str, Any] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    source_reference: Reference | None = None
    similarity: str = ""
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    pools_prompt: bool = True
    labels: list[str] = field(default_factory=list)
    activation: str = "identity"
    scored_label: str | None = None
    takes_pairs: bool = True
    empty_answer: Sequence[float] = ()
    max_active_dims: int | None = None
    query_weights: NDArray[np.float32] | None = None
    late_interaction: LateInteraction | None = None
    task: str | None = None
    ways: dict[str, "Checkpoint"] = field(default_factory=dict)

    @property
    def traced_bytes(self) -> int:
        """The bytes of its weights in float32, if they are traced; looked up rows are not."""
        if isinstance(self.graph, LookupTable):
            return 0
        return 4 * sum(weight.numel() for weight in self.graph.parameters())

    def every_way(self) -> list["Checkpoint"]:
        """Return the checkpoints of all ways, this one first."""
        return [self, *self.ways.values()]


def local_directory(checkpoint: str, *, with_pickles: bool = False) -> Path:
    """Return the directory of a checkpoint, or of the snapshot of a hub name.

    Args:
        checkpoint: The directory or name.
        with_pickles: Take the pickles of a hub name along.

    Raises:
        CheckpointError: It is neither a directory nor a known hub name.
    """
    path = Path(checkpoint)
    if path.is_dir():
        return path
    if path.exists():
        msg = (
            f"{checkpoint} is a file that holds no word vectors: give the directory that holds the "
            "checkpoint's config.json, or a file of word2vec, GloVe, FastText or gensim"
        )
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
                    checkpoint, allow_patterns=[*_OF_HUB, *(["*.bin"] if with_pickles else [])]
                )
            )
    except Exception as error:  # the hub client raises many unrelated types
        msg = (
            f"{checkpoint!r} is neither a directory here nor a model that the hub could be asked "
            f"for ({type(error).__name__}): check the path, or the name and the network"
        )
        raise CheckpointError(msg) from error


def public_name(checkpoint: str) -> str:
    """Return the name that an artifact keeps: that of a directory or file, without its path."""
    path = Path(checkpoint)
    return path.resolve().name if path.exists() else checkpoint


def require_similarity(name: str, checkpoint: str) -> None:
    """Check that Lanner has the similarity that vectors were trained for.

    Raises:
        UnsupportedError: There is no such similarity.
    """
    if name not in SIMILARITY_NAMES:
        msg = f"{checkpoint} was trained for the similarity {name!r}, which Lanner does not have"
        raise UnsupportedError(msg)


def require_tokenizer(tokenizer: Any, checkpoint: str) -> None:
    """Check that a checkpoint has a fast tokenizer.

    Raises:
        CheckpointError: The checkpoint has no tokenizer.
        UnsupportedError: The tokenizer has no fast form.
    """
    # Without tokenizer files, transformers 5 makes one that only knows special tokens.
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):
        msg = f"{checkpoint} has no tokenizer: expected tokenizer.json beside its config.json"
        raise CheckpointError(msg)
    if not getattr(tokenizer, "is_fast", False):
        msg = (
            f"{checkpoint} has no tokenizer.json and its tokenizer has no fast form: "
            "save one with PreTrainedTokenizerFast.save_pretrained"
        )
        raise UnsupportedError(msg)


def source_of(directory: Path, checkpoint: str, *, library: str) -> dict[str, Any]:
    """Return the source of a checkpoint, for the manifest."""
    weights = sorted(directory.rglob("*.safetensors"))
    return {
        "checkpoint": public_name(checkpoint),
        "library": library,
        "weights_sha256": {
            path.relative_to(directory).as_posix(): file_sha256(path) for path in weights
        },
    }
