"""The records of a manifest: files, variants, the tokenizer, ranges, the architecture."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lanner.artifact.engine_build import EngineBuild

MANIFEST_FILE = "manifest.json"
TOKENIZER_KINDS = ("tokenizers", "words")
SEGMENTERS = ("jieba",)
#: What a text may be read as, by a model that reads them in different ways.
TASKS = ("query", "document")
#: The largest width of a vector, length of a text and number of labels.
LARGEST_SIZE = 2**24
#: Characters of the longest part of a word that FastText may look up.
LONGEST_PART = 100


@dataclass(frozen=True)
class FileRecord:
    """One file of an artifact: its size and SHA-256 when it was written."""

    bytes: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> Self:
        """Record the current size and digest of a file."""
        return cls(bytes=path.stat().st_size, sha256=file_sha256(path))


@dataclass(frozen=True)
class Variant:
    """One model file at one precision for one kind of engine.

    Attributes:
        name: The name for users, for example ``"int8"``.
        precision: The precision of its matrix products.
        file: The name of its file in the artifact.
        engine: The engine that it was made for.
        opset: Version of the ONNX operator set.
        fused_ops: The number of each fused operator in the graph that the engine runs.
        calibration: The texts that the activation ranges of a quantized variant were measured on;
            empty for others.
        weights_file: The file of its weights, if they are not in `file` itself.
        passes: The rewrites of its graph.
        float32_products: The matrix products of a quantized variant that stayed in float32.
        products: The number of all its matrix products, if they were counted.
        budget: The loss that it was allowed, from `lanner export --budget`; empty for no bound.
        build: The build record of a TensorRT engine; None for other variants.
    """

    name: str
    precision: str
    file: str
    engine: str
    opset: int
    fused_ops: dict[str, int]
    calibration: dict[str, Any] = field(default_factory=dict)
    weights_file: str | None = None
    passes: list[str] = field(default_factory=list)
    float32_products: list[str] = field(default_factory=list)
    products: int = 0
    budget: str = ""
    build: EngineBuild | None = None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of one."""
        build = content.get("build")
        return cls(**{**content, "build": None if build is None else EngineBuild.from_json(build)})

    @property
    def files(self) -> list[str]:
        """Return the names of its files: `file`, and `weights_file` if there is one."""
        return [name for name in (self.file, self.weights_file) if name is not None]


@dataclass(frozen=True)
class WordParts:
    """The parts of words that are not in a table, as FastText makes them.

    Attributes:
        buckets: The number of rows for parts, behind those of the words.
        shortest: Characters of the shortest part.
        longest: Characters of the longest part.
    """

    buckets: int
    shortest: int
    longest: int


@dataclass(frozen=True)
class Segmenter:
    """The library that finds the words of texts without blanks.

    Attributes:
        name: Its name, ``"jieba"``.
        version: Its version at the export.
        dictionary_sha256: The digest of its dictionary, which decides what a word is.
    """

    name: str
    version: str
    dictionary_sha256: str


@dataclass(frozen=True)
class TokenizerRecord:
    """The tokenizer that turns texts into token ids.

    Attributes:
        file: The tokenizer's file name in the artifact.
        max_tokens: Longest input, special tokens included, or None if there is no limit; longer
            texts are cut (or, by the head `tag`, read in windows).
        pad_token_id: The id that pads shorter texts of a batch, on the right.
        kind: The format of the file: ``"tokenizers"`` (that library's) or ``"words"``
            (`lanner.text.words`).
        max_characters: The length that a text is cut to before it is split, like in model2vec; None
            for no cut.
        unknown_token_id: The id of a word without pieces; None if every word has pieces.
        parts: Of words: how a word that is not in the table is made of parts; None if it is not.
        segmenter: Of words: what finds them in texts without blanks; None for blanks alone.
    """

    file: str
    max_tokens: int | None
    pad_token_id: int
    kind: str = "tokenizers"
    max_characters: int | None = None
    unknown_token_id: int | None = None
    parts: WordParts | None = None
    segmenter: Segmenter | None = None

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of one."""
        parts, segmenter = content.get("parts"), content.get("segmenter")
        return cls(
            **{
                **content,
                "parts": None if parts is None else WordParts(**parts),
                "segmenter": None if segmenter is None else Segmenter(**segmenter),
            }
        )


@dataclass(frozen=True)
class LateInteraction:
    """The way that queries and documents of the head `tokens` are read.

    Attributes:
        query_tokens: Longest query, special tokens included.
        document_tokens: Longest document, special tokens included.
        expanded_tokens: The length that shorter queries are expanded to; 0 for no expansion.
        expansion_token_id: The token that expands them.
        attends_expansion: True if the tokens of a query read its expansion, too; else they are
            only answered.
        skipped_token_ids: The tokens that have no vector, usually those of punctuation.
        skips_in: The tasks, ``"query"`` or ``"document"``, that they are skipped in.
    """

    query_tokens: int
    document_tokens: int
    expanded_tokens: int = 0
    expansion_token_id: int = 0
    attends_expansion: bool = False
    skipped_token_ids: list[int] = field(default_factory=list)
    skips_in: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class RangesRecord:
    """The ranges of int8 and uint8 vectors.

    Attributes:
        file: The file name in the artifact; see `lanner.vectors.ranges`.
        data: The texts that the ranges were measured on.
        vectors: The number of vectors of these texts.
    """

    file: str
    data: str
    vectors: int


@dataclass(frozen=True)
class Architecture:
    """The transformer that the artifact was made from.

    Attributes:
        model_type: The name in transformers, for example ``"bert"``.
        layers: Encoder layers.
        heads: Attention heads of a layer.
        hidden_size: Width of a token's vector.
        vocabulary_size: Rows of the word embedding table.
        parameters: Number of weights.
    """

    model_type: str
    layers: int
    heads: int
    hidden_size: int
    vocabulary_size: int
    parameters: int


@dataclass(frozen=True)
class Way:
    """The way of a task's texts through a model with several: a graph and a tokenizer of its own.

    Attributes:
        architecture: The transformer of this way.
        tokenizer: Its tokenizer.
        inputs: Its graph's inputs.
        variants: Its model files, with the names of the artifact's variants.
        source: The part of the checkpoint that it was made from.
        pools_prompt: True if the tokens of a prompt are pooled, False if they are only read.
        empty_answer: The answer to a text without tokens; empty for zeros.
        trimming: Its trimmed parts.
    """

    architecture: Architecture
    tokenizer: TokenizerRecord
    inputs: list[str]
    variants: list[Variant]
    source: dict[str, Any]
    pools_prompt: bool = True
    empty_answer: list[float] = field(default_factory=list)
    trimming: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """Read what `dataclasses.asdict` and JSON made of one."""
        return cls(
            **{
                **content,
                "architecture": Architecture(**content["architecture"]),
                "tokenizer": TokenizerRecord.from_json(content["tokenizer"]),
                "variants": [Variant.from_json(variant) for variant in content["variants"]],
            }
        )


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, as lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
