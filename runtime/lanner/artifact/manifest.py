"""The manifest of an artifact: its content, its source, and the digest of every file.

`manifest.json` is UTF-8 JSON in one canonical form (`Manifest.to_bytes`), and carries the SHA-256
of itself without that field. So any changed byte is detected, white space included.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from lanner.artifact import fields
from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.bounded import TooLargeError, parse_json, read_bounded
from lanner.artifact.heads import HEADS, Head, HeadRecord, InputKind
from lanner.artifact.records import (
    Architecture,
    FileRecord,
    LateInteraction,
    RangesRecord,
    Segmenter,
    TokenizerRecord,
    Variant,
    WordParts,
    file_sha256,
)
from lanner.errors import ArtifactError, CorruptArtifactError, FormatVersionError, InputError

__all__ = [
    "FORMAT",
    "FORMAT_VERSION",
    "HALF_PRECISIONS",
    "LARGEST_SIZE",
    "LONGEST_PART",
    "MANIFEST_FILE",
    "MAX_MANIFEST_BYTES",
    "MOST_TOKEN_IDS",
    "SEGMENTERS",
    "TOKENIZER_KINDS",
    "Architecture",
    "FileRecord",
    "LateInteraction",
    "Manifest",
    "RangesRecord",
    "Segmenter",
    "TokenizerRecord",
    "Variant",
    "WordParts",
    "file_sha256",
]

FORMAT = "lanner-artifact"
FORMAT_VERSION = 1
MANIFEST_FILE = "manifest.json"
TOKENIZER_KINDS = ("tokenizers", "words")
SEGMENTERS = ("jieba",)
#: Room for a hundred thousand labels.
MAX_MANIFEST_BYTES = 32 * 2**20
#: The largest width of a vector, length of a text and number of labels.
LARGEST_SIZE = 2**24
#: Characters of the longest part of a word that FastText may look up.
LONGEST_PART = 100
#: Members that release 0.1.0 does not know: only an artifact that needs one has it.
_LATER = ("max_active_dims", "query_weights", "late_interaction")
_LATER_OF_TOKENIZER = ("parts", "segmenter")
#: Token ids are below this, so that engines may keep them as int32.
MOST_TOKEN_IDS = 2**31
#: Precisions of 16-bit floats, which are for GPUs.
HALF_PRECISIONS = ("fp16", "bf16")

#: The members that only one head has.
_ONE_HEAD = {
    "embedding_ranges": Head.EMBED,
    "query_weights": Head.SPARSE,
    "max_active_dims": Head.SPARSE,
    "late_interaction": Head.TOKENS,
}


@dataclass(frozen=True)
class Manifest:
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
    files: dict[str, FileRecord] = field(default_factory=dict)

    @property
    def head_record(self) -> HeadRecord:
        """All that depends on its head."""
        record = HEADS[self.head]
        return record if self.takes_pairs else replace(record, inputs=InputKind.TEXTS)

    @property
    def _answers_scores(self) -> bool:
        return self.head not in HEADS or not self.head_record.answers_vectors  # or unknown

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
    def checksum(self) -> str:
        """The SHA-256 of `manifest.json`, which has those of all other files."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Return the canonical text of `manifest.json`, with its own digest."""
        content = {"format": FORMAT, "format_version": FORMAT_VERSION, **asdict(self)}
        for part, later in ((content, _LATER), (content["tokenizer"], _LATER_OF_TOKENIZER)):
            for name in later:
                if part[name] is None:
                    del part[name]
        return _canonical({**content, "sha256": _digest(content)})

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read and verify the manifest of an artifact.

        Args:
            directory: The artifact.

        Raises:
            ArtifactError: The directory does not exist, or holds no readable manifest.
            FormatVersionError: A newer Lanner wrote the manifest.
            CorruptArtifactError: The manifest was changed after it was written.
        """
        path = directory / MANIFEST_FILE
        try:
            is_there = directory.is_dir()
        except OSError as error:  # for example a name that is too long
            msg = f"{str(directory)[:100]} cannot be opened ({error.strerror}): check the path"
            raise ArtifactError(msg) from None
        if not is_there:
            msg = f"{directory} is not a directory: pass one that 'lanner export' wrote"
            raise ArtifactError(msg)
        try:
            raw = read_bounded(path, MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            msg = (
                f"{directory} holds no {MANIFEST_FILE}, so it is not a Lanner artifact: "
                "pass a directory that 'lanner export' wrote"
            )
            raise ArtifactError(msg) from None
        except OSError as error:
            msg = f"{path} cannot be read ({error.strerror or error}): check that it is a file"
            raise ArtifactError(msg) from None
        except TooLargeError as error:
            msg = f"{error}: 'lanner export' did not write it"
            raise ArtifactError(msg) from None
        return cls._parse(raw, path)

    @classmethod
    def _parse(cls, raw: bytes, path: Path) -> Self:
        damaged = f"{path} was changed or damaged after it was written: export the checkpoint again"
        try:
            content = parse_json(raw)
            kind, version = content.pop("format"), content.pop("format_version")
        except (ValueError, KeyError, AttributeError, TypeError):
            raise CorruptArtifactError(damaged) from None
        # Check the version first: a newer format may change everything else.
        if kind == FORMAT and isinstance(version, int) and version > FORMAT_VERSION:
            msg = (
                f"{path} has format version {version}, but this Lanner reads up to "
                f"{FORMAT_VERSION}: upgrade it with pip install --upgrade lanner"
            )
            raise FormatVersionError(msg)
        try:
            digest = content.pop("sha256", None)
            stated = {"format": kind, "format_version": version, **content}
            is_whole = digest == _digest(stated) and raw == _canonical({**stated, "sha256": digest})
        except ValueError:  # 1e999 and lone surrogates are read but not written
            is_whole = False
        if not is_whole or (kind, version) != (FORMAT, FORMAT_VERSION):
            raise CorruptArtifactError(damaged)
        return cls._from_json(content, path)

    @classmethod
    def _from_json(cls, content: dict[str, Any], path: Path) -> Self:
        try:
            ranges = content.get("embedding_ranges")
            late = content.get("late_interaction")
            manifest = cls(
                **{
                    **content,
                    "architecture": Architecture(**content["architecture"]),
                    "tokenizer": TokenizerRecord.from_json(content["tokenizer"]),
                    "variants": [Variant.from_json(variant) for variant in content["variants"]],
                    "embedding_ranges": None if ranges is None else RangesRecord(**ranges),
                    "late_interaction": None if late is None else LateInteraction(**late),
                    "files": {name: FileRecord(**r) for name, r in content["files"].items()},
                }
            )
        except (KeyError, TypeError, AttributeError, InputError) as error:
            problem = str(error)
        else:
            problem = manifest._problem()
        if not problem and manifest.head not in HEADS:
            msg = (
                f"{path} has the head {manifest.head[:100]!r}, but this Lanner has "
                f"{', '.join(HEADS)}: upgrade it with pip install --upgrade lanner"
            )
            raise FormatVersionError(msg)
        if problem:
            msg = f"{path} does not have the fields of format version {FORMAT_VERSION}: "
            raise ArtifactError(msg + problem[:500])
        return manifest

    def _problem(self) -> str:
        """Return the first fault, or an empty string; manifests that Lanner wrote have none."""
        ranges = [] if self.embedding_ranges is None else [self.embedding_ranges]
        late = [] if self.late_interaction is None else [self.late_interaction]
        words = [one for one in (self.tokenizer.parts, self.tokenizer.segmenter) if one is not None]
        parts = [self, self.architecture, self.tokenizer, *words, *ranges, *late, *self.variants]
        builds = [variant.build for variant in self.variants if variant.build is not None]
        profiles = [profile for build in builds for profile in build.profiles]
        for part in [*parts, *builds, *profiles, *self.files.values()]:
            if name := fields.mistyped(part):
                return f"{name!r} has the wrong type"
        return (
            self._wrong_number()
            or self._wrong_words()
            or self._wrong_interaction()
            or self._wrong_name()
            or self._wrong_file()
        )

    def _wrong_words(self) -> str:
        parts, segmenter = self.tokenizer.parts, self.tokenizer.segmenter
        if (parts or segmenter) and self.tokenizer.kind != "words":
            return "'parts' and 'segmenter' are only for the tokenizer 'words'"
        if segmenter is not None and segmenter.name not in SEGMENTERS:
            return f"'segmenter' must be one of {', '.join(SEGMENTERS)}"
        if parts is None:
            return ""
        if not 1 <= parts.shortest <= parts.longest <= LONGEST_PART:
            return f"'shortest' and 'longest' must be from 1 to {LONGEST_PART}"
        if not 1 <= parts.buckets <= self.architecture.vocabulary_size <= LARGEST_SIZE:
            return "'buckets' must be rows of the table"
        return ""

    def _wrong_interaction(self) -> str:
        late = self.late_interaction
        if late is None:
            return ""
        longest = max(late.query_tokens, late.document_tokens)
        if min(late.query_tokens, late.document_tokens) < 1 or longest > LARGEST_SIZE:
            return "'query_tokens' and 'document_tokens' must be at least 1"
        if not 0 <= late.expanded_tokens <= late.query_tokens:
            return "'expanded_tokens' must be at most 'query_tokens'"
        known = self.architecture.vocabulary_size
        if not all(0 <= one < known for one in (late.expansion_token_id, *late.skipped_token_ids)):
            return "'expansion_token_id' and 'skipped_token_ids' must be tokens of the vocabulary"
        return ""

    def _wrong_number(self) -> str:
        max_tokens, max_characters = self.tokenizer.max_tokens, self.tokenizer.max_characters or 0
        counts, empty = (self.dimension, max_tokens, self.max_active_dims), self.empty_answer
        if min(count for count in counts if count is not None) < 1:
            return "'dimension', 'max_tokens' and 'max_active_dims' must be at least 1"
        sizes = [self.dimension, max_tokens or 0, max_characters]
        if max(sizes) > LARGEST_SIZE:
            return f"{max(sizes)} is more than any model has"
        if min(max_characters, *(one.bytes for one in self.files.values()), 0) < 0:
            return "'max_characters' and 'bytes' must not be negative"
        if not 0 <= self.tokenizer.pad_token_id < 2**31:
            return "'pad_token_id' must be a token's id"
        labels = (self.labels, self._answers_scores)
        for name, (found, is_there) in (("labels", labels), ("empty_answer", (empty, bool(empty)))):
            if is_there and len(found) != self.dimension:
                return f"{name!r} must be {self.dimension}, one for each logit"
        return ""

    def _wrong_name(self) -> str:
        for member, head in _ONE_HEAD.items():
            if self.head != head and getattr(self, member) is not None:
                return f"{member!r} is only for the head {head!r}"
        choices = (
            ("takes_pairs", self.takes_pairs, (True, False)[: 1 + (self.head == Head.CLASSIFY)]),
            ("activation", self.activation, ACTIVATIONS),
            ("scored_label", self.scored_label, (None, *self.labels)),
            ("similarity", self.similarity, ("", *fields.SIMILARITIES)),
            ("kind", self.tokenizer.kind, TOKENIZER_KINDS),
            *(("engine", variant.engine, fields.ENGINES) for variant in self.variants),
            *(("inputs", name, fields.INPUTS) for name in self.inputs),
        )
        for name, value, allowed in choices:
            if value not in allowed:
                return f"{name!r} must be one of {', '.join(map(str, allowed))}"
        if len(self.name) > 255 or len(self.variants) > 100:  # messages show them
            return "'name' or 'variants' is longer than an export makes it"
        if not self.inputs or not self.outputs:
            return "'inputs' and 'outputs' must not be empty"
        names = [variant.name for variant in self.variants]
        for text in (*names, *(variant.precision for variant in self.variants), *self.outputs):
            if not fields.is_name(text):
                return f"{text!r} must be of letters, digits, '_', '.' and '-'"
        return "two variants have the same name" if len(set(names)) < len(names) else ""

    def _wrong_file(self) -> str:
        models = [name for variant in self.variants for name in variant.files]
        ranges = [] if self.embedding_ranges is None else [self.embedding_ranges.file]
        ranges += [] if self.query_weights is None else [self.query_weights]
        needed = [self.tokenizer.file, *ranges, *models]
        name = fields.unfit_file_name([*needed, *self.files])
        if name is not None:
            return (
                f"{name!r} is not a file name: it must consist of letters, digits, '_', '.', '-', "
                f"and end in one of {', '.join(fields.FILE_SUFFIXES)}"
            )
        if MANIFEST_FILE in self.files or set(models) & {self.tokenizer.file, *ranges}:
            return "a file is listed for two purposes"
        unlisted = set(needed) - set(self.files)
        return f"'files' lacks {min(unlisted)!r}" if unlisted else ""


def _canonical(content: dict[str, Any]) -> bytes:
    return (json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(_canonical(content)).hexdigest()
