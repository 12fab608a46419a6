"""The faults of a manifest that was read: each check returns the first in words, or nothing."""

from lanner.artifact import fields
from lanner.artifact.activation import ACTIVATIONS
from lanner.artifact.description import Description
from lanner.artifact.heads import HEADS, Head
from lanner.artifact.records import (
    LARGEST_SIZE,
    LONGEST_PART,
    MANIFEST_FILE,
    SEGMENTERS,
    TASKS,
    TOKENIZER_KINDS,
)

_TASKS = ", ".join(TASKS)
#: The members that only one head has.
_ONE_HEAD = {
    "embedding_ranges": Head.EMBED,
    "query_weights": Head.SPARSE,
    "max_active_dims": Head.SPARSE,
    "late_interaction": Head.TOKENS,
    "task": Head.EMBED,
}


def fault_of(manifest: Description) -> str:
    """Return the first fault, or an empty string; manifests that Lanner wrote have none."""
    ranges = [] if manifest.embedding_ranges is None else [manifest.embedding_ranges]
    late = [] if manifest.late_interaction is None else [manifest.late_interaction]
    words = [
        one for one in (manifest.tokenizer.parts, manifest.tokenizer.segmenter) if one is not None
    ]
    parts = [
        manifest,
        manifest.architecture,
        manifest.tokenizer,
        *words,
        *ranges,
        *late,
        *manifest.variants,
    ]
    builds = [variant.build for variant in manifest.variants if variant.build is not None]
    profiles = [profile for build in builds for profile in build.profiles]
    for part in [*parts, *builds, *profiles, *manifest.files.values()]:
        if name := fields.mistyped(part):
            return f"{name!r} has the wrong type"
    return (
        _wrong_number(manifest)
        or _wrong_words(manifest)
        or _wrong_interaction(manifest)
        or _wrong_name(manifest)
        or _wrong_file(manifest)
        or _wrong_ways(manifest)
    )


def _wrong_words(manifest: Description) -> str:
    parts, segmenter = manifest.tokenizer.parts, manifest.tokenizer.segmenter
    if (parts or segmenter) and manifest.tokenizer.kind != "words":
        return "'parts' and 'segmenter' are only for the tokenizer 'words'"
    if segmenter is not None and segmenter.name not in SEGMENTERS:
        return f"'segmenter' must be one of {', '.join(SEGMENTERS)}"
    if parts is None:
        return ""
    if not 1 <= parts.shortest <= parts.longest <= LONGEST_PART:
        return f"'shortest' and 'longest' must be from 1 to {LONGEST_PART}"
    if not 1 <= parts.buckets <= manifest.architecture.vocabulary_size <= LARGEST_SIZE:
        return "'buckets' must be rows of the table"
    return ""


def _wrong_interaction(manifest: Description) -> str:
    late = manifest.late_interaction
    if late is None:
        return ""
    longest = max(late.query_tokens, late.document_tokens)
    if min(late.query_tokens, late.document_tokens) < 1 or longest > LARGEST_SIZE:
        return "'query_tokens' and 'document_tokens' must be at least 1"
    if not 0 <= late.expanded_tokens <= late.query_tokens:
        return "'expanded_tokens' must be at most 'query_tokens'"
    known = manifest.architecture.vocabulary_size
    if not all(0 <= one < known for one in (late.expansion_token_id, *late.skipped_token_ids)):
        return "'expansion_token_id' and 'skipped_token_ids' must be tokens of the vocabulary"
    return ""


def _wrong_number(manifest: Description) -> str:
    max_tokens, max_characters = (
        manifest.tokenizer.max_tokens,
        manifest.tokenizer.max_characters or 0,
    )
    counts, empty = (
        (manifest.dimension, max_tokens, manifest.max_active_dims),
        manifest.empty_answer,
    )
    if min(count for count in counts if count is not None) < 1:
        return "'dimension', 'max_tokens' and 'max_active_dims' must be at least 1"
    sizes = [manifest.dimension, max_tokens or 0, max_characters]
    if max(sizes) > LARGEST_SIZE:
        return f"{max(sizes)} is more than any model has"
    if min(max_characters, *(one.bytes for one in manifest.files.values()), 0) < 0:
        return "'max_characters' and 'bytes' must not be negative"
    if not 0 <= manifest.tokenizer.pad_token_id < 2**31:
        return "'pad_token_id' must be a token's id"
    is_scored = manifest.head not in HEADS or not manifest.head_record.answers_vectors  # or unknown
    labels = (manifest.labels, is_scored)
    for name, (found, is_there) in (("labels", labels), ("empty_answer", (empty, bool(empty)))):
        if is_there and len(found) != manifest.dimension:
            return f"{name!r} must be {manifest.dimension}, one for each logit"
    return ""


def _wrong_name(manifest: Description) -> str:
    for member, head in _ONE_HEAD.items():
        if manifest.head != head and getattr(manifest, member) is not None:
            return f"{member!r} is only for the head {head!r}"
    choices = (
        (
            "takes_pairs",
            manifest.takes_pairs,
            (True, False)[: 1 + (manifest.head == Head.CLASSIFY)],
        ),
        ("activation", manifest.activation, ACTIVATIONS),
        ("scored_label", manifest.scored_label, (None, *manifest.labels)),
        ("similarity", manifest.similarity, ("", *fields.SIMILARITIES)),
        ("kind", manifest.tokenizer.kind, TOKENIZER_KINDS),
        *(("engine", variant.engine, fields.ENGINES) for variant in manifest.variants),
        *(("inputs", name, fields.INPUTS) for name in manifest.inputs),
    )
    for name, value, allowed in choices:
        if value not in allowed:
            return f"{name!r} must be one of {', '.join(map(str, allowed))}"
    if len(manifest.name) > 255 or len(manifest.variants) > 100:  # messages show them
        return "'name' or 'variants' is longer than an export makes it"
    if not manifest.inputs or not manifest.outputs:
        return "'inputs' and 'outputs' must not be empty"
    names = [variant.name for variant in manifest.variants]
    for text in (*names, *(variant.precision for variant in manifest.variants), *manifest.outputs):
        if not fields.is_name(text):
            return f"{text!r} must be of letters, digits, '_', '.' and '-'"
    return "two variants have the same name" if len(set(names)) < len(names) else ""


def _wrong_file(manifest: Description) -> str:
    models = [name for variant in manifest.variants for name in variant.files]
    ranges = [] if manifest.embedding_ranges is None else [manifest.embedding_ranges.file]
    ranges += [] if manifest.query_weights is None else [manifest.query_weights]
    needed = [manifest.tokenizer.file, *ranges, *models]
    name = fields.unfit_file_name([*needed, *manifest.files])
    if name is not None:
        return (
            f"{name!r} is not a file name: it must consist of letters, digits, '_', '.', '-', "
            f"and end in one of {', '.join(fields.FILE_SUFFIXES)}"
        )
    if MANIFEST_FILE in manifest.files or set(models) & {manifest.tokenizer.file, *ranges}:
        return "a file is listed for two purposes"
    unlisted = set(needed) - set(manifest.files)
    return f"'files' lacks {min(unlisted)!r}" if unlisted else ""


def _wrong_ways(manifest: Description) -> str:
    """Return the first fault of the ways, each of which is a manifest of its own."""
    if not manifest.ways:
        return "" if manifest.task in (None, *TASKS) else f"'task' must be one of {_TASKS}"
    if {manifest.task, *manifest.ways} - {*TASKS} or manifest.task in manifest.ways:
        return f"'task' and 'ways' must have each one of {_TASKS}"
    files = _own_files(manifest)
    names = [variant.name for variant in manifest.variants]
    for task, way in manifest.ways.items():
        of_way = manifest.of_way(task)
        if [variant.name for variant in way.variants] != names:
            return f"the way {task!r} must have the variants {', '.join(names)}"
        if problem := fault_of(of_way):
            return f"of the way {task!r}, {problem}"
        own = _own_files(of_way)
        if files & own:
            return f"{min(files & own)!r} is a file of two ways"
        files |= own
    return ""


def _own_files(manifest: Description) -> set[str]:
    return {manifest.tokenizer.file, *(name for one in manifest.variants for name in one.files)}
