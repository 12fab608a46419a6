"""The options of word vectors: how texts are split, and how words are weighed."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from lanner.artifact.manifest import Segmenter
from lanner.errors import MissingExtraError, UnsupportedError
from lanner.text.segmentation import JIEBA, installed_segmenter
from lanner_export.trim.trimming import Corpus

AUTO, NONE = "auto", "none"
_HAN = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HAN_WORD = re.compile(f"[{_HAN}]+")
_HAN_TEXT = re.compile(f"[{_HAN}]{{4}}|[{_HAN}]+\\s+[{_HAN}]")
_BLANK_BETWEEN = re.compile(f"[{_HAN}]\\s+[{_HAN}]")


@dataclass(frozen=True)
class Sif:
    """Weights by inverse frequency (Arora et al. 2017, "smooth inverse frequency").

    Attributes:
        corpus: The texts whose words are counted.
        smoothing: The `a` of the weight a / (a + p) of a word with the frequency p.
        removes_component: True to take the first principal component of the texts' vectors out of
            every vector.
    """

    corpus: Corpus
    smoothing: float = 1e-3
    removes_component: bool = False


@dataclass(frozen=True)
class WordOptions:
    """The options of word vectors that have no settings of their own.

    Attributes:
        segmenter: One of `lanner_export.SEGMENTERS`; ``"auto"`` takes jieba for tables of Chinese
            words, unless the texts show that they are split already.
        sif: How words are weighed; None if all count the same.
        texts: Texts that the caller gave, to see whether they are split.
    """

    segmenter: str = AUTO
    sif: Sif | None = None
    texts: Sequence[str] = ()


NO_WORD_OPTIONS = WordOptions()


def require_no_word_options(options: WordOptions, checkpoint: str) -> None:
    """Check that no option is given for a checkpoint that is no file of word vectors.

    Raises:
        UnsupportedError: One is.
    """
    if options.sif is None and options.segmenter in (AUTO, NONE):
        return
    option = "--segment" if options.sif is None else "--sif"
    msg = f"{option} is for files of word vectors, and {checkpoint} is none: leave it out"
    raise UnsupportedError(msg)


def chosen_segmenter(
    words: Sequence[str], options: WordOptions, checkpoint: str
) -> tuple[Segmenter | None, list[str]]:
    """Return the segmenter of a table of words, or None, and what the user should read.

    Raises:
        MissingExtraError: jieba was asked for, and is not installed.
    """
    if options.segmenter == JIEBA:
        return installed_segmenter(), []
    if options.segmenter == NONE or not is_chinese(words):
        return None, []
    begin = f"most words of {checkpoint} are Chinese"
    if has_blanks(options.texts):
        warning = (
            f"{begin}, and so are the texts, with blanks between words: texts are split at blanks; "
            "pass --segment jieba if those of the service have none"
        )
        return None, [warning]
    try:
        found = installed_segmenter()
    except MissingExtraError:
        warning = (
            f"{begin}, and texts without blanks need jieba, which is not installed: install "
            "'lanner[zh]' and export again, or split the texts first and pass --segment none"
        )
        return None, [warning]
    warning = (
        f"{begin}: texts are split by jieba {found.version}; pass --segment none if they are split "
        "already"
    )
    return found, [warning]


def is_chinese(words: Sequence[str]) -> bool:
    """Return True if more than half of the words are of Chinese characters alone."""
    return 2 * sum(_HAN_WORD.fullmatch(word) is not None for word in words) > len(words)


def has_blanks(texts: Sequence[str]) -> bool:
    """Return True if most Chinese texts have blanks between Chinese characters."""
    chinese = [text for text in texts if _HAN_TEXT.search(text)]
    split = sum(_BLANK_BETWEEN.search(text) is not None for text in chinese)
    return bool(chinese) and 2 * split > len(chinese)
