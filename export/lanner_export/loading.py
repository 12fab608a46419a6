"""Loading a checkpoint by name, in the way of its head."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.heads import HEADS as HEAD_RECORDS
from lanner.artifact.heads import Head
from lanner.errors import InputError, UnsupportedError, UsageError
from lanner.text.tokenization import Pair
from lanner_export import HEADS
from lanner_export.checkpoint.checkpoint import (
    Checkpoint,
    Reference,
    local_directory,
)
from lanner_export.checkpoint.contents import foreign_head, require_inside
from lanner_export.checkpoint.heads import infer_head
from lanner_export.checkpoint.routes import read_ways
from lanner_export.linear.classifying import classified
from lanner_export.linear.files import head_file
from lanner_export.static.embedder import load_static_embedder
from lanner_export.static.reading import is_static_checkpoint
from lanner_export.static.word_options import (
    NO_WORD_OPTIONS,
    WordOptions,
    require_no_word_options,
)
from lanner_export.transformer.classifier import load_classifier
from lanner_export.transformer.embedder import load_embedder
from lanner_export.transformer.preparing import prepare
from lanner_export.transformer.sparse_encoder import load_sparse_encoder
from lanner_export.transformer.token_encoder import load_token_encoder
from lanner_export.trim.trimming import NO_TRIMMING, Trimming
from lanner_export.ways import load_ways


def load_checkpoint(
    checkpoint: str,
    *,
    head: str = "auto",
    max_tokens: int | None = None,
    truncate_dim: int | None = None,
    pooling: str | None = None,
    positive_label: str | None = None,
    base: str | None = None,
    adapters: Mapping[str | None, str] | None = None,
    allow_pickle: bool = False,
    trimming: Trimming = NO_TRIMMING,
    words: WordOptions = NO_WORD_OPTIONS,
    scratch: Path | None = None,
) -> Checkpoint:
    """Load a checkpoint directory, a file of word vectors, or a hub name.

    Args:
        checkpoint: The directory, file or name.
        head: The head; ``"auto"`` decides from the checkpoint.
        max_tokens: A longest input that replaces the checkpoint's own.
        truncate_dim: The number of leading dimensions of a vector to keep; None for the
            checkpoint's own.
        pooling: One of `POOLINGS`, for a checkpoint that does not say it; None for the mean.
        positive_label: The label whose probability the head `score` returns, if there are several;
            None for the second of two.
        base: The checkpoint that an adapter was trained for; None for the weights beside it, or
            the directory that its configuration names.
        adapters: The folders of the adapters to merge, by task; the key None for all texts.
        allow_pickle: Read weights in pickles, by torch's safe unpickling.
        trimming: The layers and the vocabulary to keep.
        words: The options of a file of word vectors.
        scratch: A directory with room for the vectors of a file, or for merged or converted
            weights, which stay there while the checkpoint is in use. Others do not need it.

    Raises:
        CheckpointError: The checkpoint is missing, incomplete or unreadable.
        UnsupportedError: The architecture, head or a module cannot be exported, or an argument has
            no meaning for the head.
        ExportError: A text of the corpus would be split differently.
        InputError: The checkpoint needs a `scratch`, and there is none.
        UsageError: A base or an adapter was named, and there is none.
        MissingExtraError: The package that merges adapters is not installed.
    """
    if head not in HEADS:
        msg = f"there is no head {head!r}: use {', '.join(HEADS)}"
        raise UnsupportedError(msg)
    path = Path(checkpoint)
    directory = (
        path
        if path.is_file() and is_static_checkpoint(path)
        else local_directory(checkpoint, with_pickles=allow_pickle)
    )
    load = partial(
        _load,
        head=head,
        max_tokens=max_tokens,
        truncate_dim=truncate_dim,
        pooling=pooling,
        positive_label=positive_label,
        base=base,
        allow_pickle=allow_pickle,
        trimming=trimming,
        words=words,
    )
    ways = None
    if directory.is_dir():
        require_inside(directory)
        ways = read_ways(directory)
    if adapters:
        if ways is not None or not directory.is_dir():
            what = "a Router" if ways is not None else "a file"
            msg = f"{checkpoint} is {what}, whose adapters have no names: leave --adapter out"
            raise UsageError(msg)
        return _load_adapted(directory, checkpoint, load, adapters, scratch)
    if ways is None:
        return load(directory, checkpoint, scratch=scratch)
    if head not in ("auto", Head.EMBED):
        msg = (
            f"{checkpoint} has a Router, and Lanner exports those of sentence vectors: leave "
            f"--head {head} out"
        )
        raise UnsupportedError(msg)

    def load_way(task: str | None, name: str, room: Path) -> Checkpoint:
        return load(ways.write(task, room / "way"), name, scratch=room)

    return load_ways(
        ways.modules,
        load_way,
        default=ways.default,
        checkpoint=checkpoint,
        scratch=scratch,
        warnings=ways.warnings,
    )


def _load(
    directory: Path,
    checkpoint: str,
    *,
    head: str,
    max_tokens: int | None,
    truncate_dim: int | None,
    pooling: str | None,
    positive_label: str | None,
    base: str | None,
    allow_pickle: bool,
    trimming: Trimming,
    words: WordOptions,
    scratch: Path | None,
    adapter: str | None = None,
) -> Checkpoint:
    """Load a checkpoint whose texts all take one way; see `load_checkpoint`."""
    added: dict[str, Any] = {}
    if directory.is_dir():
        prepared = prepare(
            directory,
            checkpoint,
            base=base,
            allow_pickle=allow_pickle,
            adapter=adapter,
            scratch=scratch,
        )
        directory, added = prepared.directory, prepared.source
    warnings, classifier = _own_head(directory, checkpoint, head)
    if classifier is not None:
        _require_no_option(classifier, truncate_dim, pooling, positive_label)
        head = Head.EMBED  # first, and then the classifier on top
    if is_static_checkpoint(directory):
        _require_plain_embed(checkpoint, head, truncate_dim, pooling, positive_label, trimming)
        if scratch is None:
            msg = f"{checkpoint} holds static vectors: pass scratch, a directory with room for them"
            raise InputError(msg)
        static = load_static_embedder(
            directory,
            checkpoint,
            scratch,
            max_tokens=max_tokens,
            corpus=trimming.corpus,
            words=words,
        )
        if classifier is not None:
            static = classified(static, classifier, checkpoint)
        return replace(static, warnings=[*warnings, *static.warnings])
    require_no_word_options(words, checkpoint)
    drops_head = _asks_for_vectors(head)
    if head == "auto":
        head = infer_head(directory, checkpoint)
    for option, value, owner in (
        ("--positive-label", positive_label, Head.SCORE),
        ("--truncate-dim", truncate_dim, Head.EMBED),
        ("--pooling", pooling, Head.EMBED),
    ):
        if value is not None and head != owner:
            msg = f"{option} is for the head {owner!r}, and {checkpoint} gets {head!r}"
            raise UnsupportedError(msg)
    load = _loader(directory, checkpoint, head, pooling, positive_label, drops_head=drops_head)
    if classifier is not None:
        load = partial(_load_classified, load, classifier, checkpoint)
    options = {} if truncate_dim is None else {"truncate_dim": truncate_dim}
    loaded = load(max_tokens=max_tokens, trimming=trimming, **options)
    loaded = replace(
        loaded, warnings=[*warnings, *loaded.warnings], source={**loaded.source, **added}
    )
    if not loaded.trimming:
        return loaded
    return replace(loaded, source_reference=_Source(partial(load, max_tokens=loaded.max_tokens)))


def _load_adapted(
    directory: Path,
    checkpoint: str,
    load: Callable[..., Checkpoint],
    adapters: Mapping[str | None, str],
    scratch: Path | None,
) -> Checkpoint:
    """Load a checkpoint with one of its adapters, or with one for each task."""
    if None in adapters:
        return load(directory, checkpoint, scratch=scratch, adapter=adapters[None])

    def load_way(task: str | None, name: str, room: Path) -> Checkpoint:
        return load(directory, name, scratch=room, adapter=adapters[task])

    return load_ways(adapters, load_way, default="document", checkpoint=checkpoint, scratch=scratch)


def _loader(
    directory: Path,
    checkpoint: str,
    head: str,
    pooling: str | None,
    positive_label: str | None,
    *,
    drops_head: bool,
) -> Callable[..., Checkpoint]:
    """Return the function that loads a checkpoint for a head, but for its limit and its parts."""
    if head == Head.SPARSE:
        return partial(load_sparse_encoder, directory, checkpoint)
    if head == Head.TOKENS:
        return partial(load_token_encoder, directory, checkpoint)
    if HEAD_RECORDS[head].embeds:
        return partial(load_embedder, directory, checkpoint, pooling=pooling, drops_head=drops_head)
    return partial(load_classifier, directory, checkpoint, head, positive_label=positive_label)


def _require_no_option(
    classifier: Path, truncate_dim: int | None, pooling: str | None, positive_label: str | None
) -> None:
    for option, value in (
        ("--truncate-dim", truncate_dim),
        ("--pooling", pooling),
        ("--positive-label", positive_label),
    ):
        if value is not None:
            msg = f"the classifier {classifier} was fitted without {option}: leave it out"
            raise UnsupportedError(msg)


def _load_classified(
    load: Callable[..., Checkpoint], classifier: Path, checkpoint: str, **options: Any
) -> Checkpoint:
    return classified(load(**options), classifier, checkpoint)


def _asks_for_vectors(head: str) -> bool:
    """True if the caller named a head of vectors, so that the checkpoint's own may be left out."""
    return head in HEAD_RECORDS and HEAD_RECORDS[head].embeds


def _own_head(directory: Path, checkpoint: str, head: str) -> tuple[list[str], Path | None]:
    """Return the file of a classifier on top of a directory's vectors, or None.

    Before it a sentence for the user, if the head that a directory holds beside its model is left
    out.

    Raises:
        UnsupportedError: There is such a head, and Lanner does not export it.
    """
    other = foreign_head(directory)
    if other is None:
        return [], None
    if _asks_for_vectors(head):
        return [f"the head of {checkpoint} is left out: {other}"], None
    classifier = head_file(directory)
    if classifier is None or head not in ("auto", Head.CLASSIFY):
        msg = (
            f"{checkpoint} holds {other}, which Lanner does not export"
            f"{'' if classifier is None else f' with the head {head!r}'}: pass --head embed to "
            "export its encoder alone"
        )
        raise UnsupportedError(msg)
    return [], classifier


class _Source:
    """The reference of a checkpoint, loaded at the first call."""

    def __init__(self, load: Callable[[], Checkpoint]) -> None:
        self._load = load
        self._reference: Reference | None = None

    def __call__(self, inputs: Sequence[str | Pair]) -> list[NDArray[np.float32]]:
        if self._reference is None:
            self._reference = self._load().reference
        return self._reference(inputs)


def _require_plain_embed(
    checkpoint: str,
    head: str,
    truncate_dim: int | None,
    pooling: str | None,
    positive_label: str | None,
    trimming: Trimming,
) -> None:
    if head not in ("auto", Head.EMBED) or positive_label is not None:
        what = f"head {head!r}" if positive_label is None else "--positive-label"
        msg = f"{checkpoint} holds static vectors, which have no {what}: use --head embed"
        raise UnsupportedError(msg)
    if truncate_dim is not None:
        msg = (
            f"{checkpoint} holds static vectors, which are exported whole: leave --truncate-dim "
            "out, and pass truncate_dim to encode"
        )
        raise UnsupportedError(msg)
    if pooling is not None:
        msg = f"{checkpoint} holds static vectors, whose mean is taken: leave --pooling out"
        raise UnsupportedError(msg)
    if trimming.layers is not None:
        msg = f"{checkpoint} holds static vectors, which have no layers: leave --keep-layers out"
        raise UnsupportedError(msg)
