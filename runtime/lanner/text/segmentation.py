"""Words of texts without blanks between words, found by a library with a dictionary."""

import hashlib
import io
import warnings
from collections.abc import Callable, Iterator
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import Segmenter
from lanner.errors import ArtifactError, MissingExtraError

JIEBA = "jieba"
_DICTIONARY = "dict.txt"

#: Yields the words of a text in its order; punctuation and blanks are words, too.
Segment = Callable[[str], Iterator[str]]


def installed_segmenter() -> Segmenter:
    """Return the record of the installed jieba.

    Raises:
        MissingExtraError: It is not installed.
    """
    return _jieba()[1]


def open_segmenter(record: Segmenter) -> Segment:
    """Return the segmenter of an artifact; any number of threads may call it.

    Raises:
        MissingExtraError: Its library is not installed.
        ArtifactError: The installed one has another dictionary, and would find other words.
    """
    tokenizer, installed = _jieba()
    if installed.dictionary_sha256 != record.dictionary_sha256:
        msg = (
            f"the artifact splits texts by {record.name} {record.version}, and the dictionary of "
            f"the installed {installed.version} is another one: install "
            f"{record.name}=={record.version}, or export again"
        )
        raise ArtifactError(msg)
    segment: Segment = tokenizer.cut
    return segment


@cache
def _jieba() -> tuple[Any, Segmenter]:
    """Return a tokenizer of jieba with its own dictionary, whatever the caller does to jieba's."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of setuptools, and of its regular expressions
            import jieba  # noqa: PLC0415 (only for artifacts that need it)
    except ImportError as error:
        what, extra = "splitting Chinese texts into words", "zh"
        raise MissingExtraError(what, extra, JIEBA) from error
    raw = Path(jieba.__file__).with_name(_DICTIONARY).read_bytes()
    tokenizer = jieba.Tokenizer()
    # Not its `initialize`, which trusts a cache in the directory for temporary files.
    tokenizer.FREQ, tokenizer.total = tokenizer.gen_pfdict(io.BytesIO(raw))
    tokenizer.initialized = True
    digest = hashlib.sha256(raw).hexdigest()
    return tokenizer, Segmenter(JIEBA, metadata.version(JIEBA), digest)
