"""The content of a manifest: everything that is known of an artifact without its model files."""

from dataclasses import dataclass, field, replace
from typing import Any, Self

from lanner.artifact.heads import HEADS, HeadRecord, InputKind
from lanner.artifact.records import (
    Architecture,
    FileRecord,
    LateInteraction,
    RangesRecord,
    TokenizerRecord,
    Variant,
    Way,
)

#: Token ids are below this, so that engines may keep them as int32.
MOST_TOKEN_IDS = 2**31


@dataclass(frozen=True)
class Description:
    """Everything that is known of an artifact without opening a model file.

    Attributes:
        name: What people call it.
        head: What the model answers, of `lanner.artifact.heads.HEADS`.
        architecture: The transformer that it was made from.
        dimension: Width of the output: of a vector, or the number of labels.
        similarity: The similarity that its vectors are compared by; empty for other heads.
        tokenizer: How texts become token ids.
        inputs: The graph's inputs, int64 [batch, length] each.
        outputs: The graph's outputs, float32.
        variants: The model files.
        source: The checkpoint.
        versions: The packages that made it.
        created: The time of the export, in UTC.
        prompts: The checkpoint's named prompts.
        default_prompt_name: The prompt that is used by default, or None.
        pools_prompt: True if the tokens of a prompt are pooled, False if they are only read.
        labels: The labels of the logits, in their order; empty for the head `embed`.
        activation: One of `lanner.artifact.activation.ACTIVATIONS`.
        scored_label: The label whose score the head `score` returns; None if there is only one.
        takes_pairs: False if the model reads texts alone, though its head takes pairs, too.
        empty_answer: The answer to a text without tokens; empty for zeros.
        embedding_ranges: The ranges of the vectors of the head `embed`; None if they are unknown.
        trimming: The trimmed parts of the checkpoint: for `layers` the numbers of those `kept`, for
            `tokens` and `dimensions` their count, each with the original count in `of`; and the
            name of the `corpus` that the tokens were chosen by. Empty if nothing was trimmed.
        max_active_dims: The most terms that the head `sparse` gives a text; None for no limit.
        query_weights: The file with the weight of each term in a query, of a model of the head
            `sparse` that reads queries without inference; else None.
        late_interaction: How the head `tokens` reads queries and documents; None if it reads both
            as they are, and answers each token.
        task: The task whose texts it reads, if others take another way: one of `TASKS`; else None.
        ways: The ways of the other tasks, by task. They share everything else, such as prompts.
        files: Every other file of the artifact.
    """

    name: str
    head: str
    architecture: Architecture
    dimension: int
    similarity: str
    tokenizer: TokenizerRecord
    inputs: list[str]
    outputs: list[str]
    variants: list[Variant]
    source: dict[str, Any]
    versions: dict[str, str]
    created: str
    prompts: dict[str, str] = field(default_factory=dict)
    default_prompt_name: str | None = None
    pools_prompt: bool = True
    labels: list[str] = field(default_factory=list)
    activation: str = "identity"
    scored_label: str | None = None
    takes_pairs: bool = True
    empty_answer: list[float] = field(default_factory=list)
    embedding_ranges: RangesRecord | None = None
    trimming: dict[str, Any] = field(default_factory=dict)
    max_active_dims: int | None = None
    query_weights: str | None = None
    late_interaction: LateInteraction | None = None
    task: str | None = None
    ways: dict[str, Way] = field(default_factory=dict)
    files: dict[str, FileRecord] = field(default_factory=dict)

    @property
    def head_record(self) -> HeadRecord:
        """All that depends on its head."""
        record = HEADS[self.head]
        return record if self.takes_pairs else replace(record, inputs=InputKind.TEXTS)

    def variant(self, name: str) -> Variant | None:
        """Return the variant of that name, or None."""
        return next((variant for variant in self.variants if variant.name == name), None)

    @property
    def token_ids(self) -> int:
        """The number of token ids: an id of a part of a word also says how many parts there are."""
        has_parts = self.tokenizer.parts is not None
        return MOST_TOKEN_IDS if has_parts else self.architecture.vocabulary_size

    def is_looked_up(self, variant: Variant) -> bool:
        """True for static vectors, rows of a table: neither cores nor a GPU make them faster."""
        return variant.weights_file is not None and not self.architecture.layers

    @property
    def tasks(self) -> list[str]:
        """The tasks whose texts take different ways, its own first; empty if all take one."""
        return [one for one in (self.task, *self.ways) if one is not None]

    def of_way(self, task: str) -> Self:
        """Return the manifest of one way alone: a model with the same files and prompts.

        Args:
            task: Its own `task`, or one of `ways`.
        """
        way = self.ways.get(task)
        own: dict[str, Any] = {} if way is None else {**vars(way), "name": f"{self.name}:{task}"}
        return replace(self, task=task, ways={}, **own)
