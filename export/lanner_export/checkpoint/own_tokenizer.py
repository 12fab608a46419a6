"""The checkpoint's own `tokenizer.json`, which alone decides the token ids."""

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, normalizers

from lanner.errors import CheckpointError
from lanner.files.texts import shipped_sentences
from lanner.text.splitting import is_of_library, switch_off_dropout

TOKENIZER_FILE = "tokenizer.json"
#: Texts that normalizers and pre-tokenizers of different kinds read differently.
_PROBES = (
    "a",
    "Äpfel und ÉCLAIRS, straße",
    "北京天气很好。今天",
    "don't  stop\tnow\n\n end ",
    "e\u0301 \ufb01 \u2460 \u00bd \u200d \u00ad",
    "\u0130stanbul \u1e9e",
    "user@example.com 3.14 #tag_a-b",
    "👩‍👧 ok",
)
_SHOWN_CHARACTERS = 60


def read_tokenizer(path: Path) -> Tokenizer:
    """Read a tokenizer of the `tokenizers` library.

    Raises:
        CheckpointError: It is missing, or this version of the library cannot read it.
    """
    if not path.is_file():
        msg = f"there is no {path}: save the checkpoint again, with its tokenizer"
        raise CheckpointError(msg)
    try:
        return Tokenizer.from_file(str(path))
    except BaseException as error:
        if not is_of_library(error):
            raise
        msg = f"{path} is not a tokenizer that this version of 'tokenizers' reads: {error}"
        raise CheckpointError(msg) from error


def restore_own_tokenizer(
    tokenizer: Any, directory: Path, *, lowercases: bool, markers: Sequence[str] = ()
) -> list[str]:
    """Replace the tokenizer that transformers made by the checkpoint's own `tokenizer.json`.

    transformers builds some tokenizers anew, by the name of their class or the type of the model:
    with a normalizer, a pre-tokenizer or special tokens that the file does not have. A comparison
    with the checkpoint cannot find that, because its reference would be as wrong.

    Args:
        tokenizer: The fast tokenizer of transformers; it is changed.
        directory: The directory of the file; without a file nothing is done.
        lowercases: True if sentence-transformers puts lower-casing before the tokenizer.
        markers: Tokens that stand for themselves in a text, whatever the file says of them.

    Returns:
        A sentence for the user if the two differ, and one if tokens were made by chance.

    Raises:
        CheckpointError: The file cannot be read, or fails on some texts.
    """
    path = directory / TOKENIZER_FILE
    if not path.is_file():
        return []
    own = read_tokenizer(path)
    warnings = []
    if switch_off_dropout(own):
        warnings.append(
            f"{path} drops merges at random (BPE dropout), which is meant for training: the "
            "artifact drops none, so a text always gets the same tokens"
        )
    if lowercases:
        rest = [] if own.normalizer is None else [own.normalizer]
        own.normalizer = normalizers.Sequence([normalizers.Lowercase(), *rest])
    for marker in markers:
        if own.encode(marker, add_special_tokens=False).tokens != [marker]:
            own.add_special_tokens([AddedToken(marker, normalized=False, special=True)])
    _require_total(own, path)
    switch_off_dropout(tokenizer.backend_tokenizer)
    text = _difference(own, tokenizer.backend_tokenizer)
    # The only way to another tokenizer; transformers does the same in train_new_from_iterator.
    tokenizer._tokenizer = own
    if text is None:
        return warnings
    warnings.append(
        f"transformers {version('transformers')} makes other tokens of {text[:_SHOWN_CHARACTERS]!r}"
        f" than the checkpoint's own {TOKENIZER_FILE}: the artifact has those of {TOKENIZER_FILE}"
    )
    return warnings


def _require_total(tokenizer: Tokenizer, path: Path) -> None:
    """Refuse a tokenizer that fails on unknown characters."""
    for text in _PROBES:
        try:
            tokenizer.encode(text)
        except BaseException as error:
            if not is_of_library(error):
                raise
            msg = f"{path} cannot read {text!r} ({error}): give its model an unknown token"
            raise CheckpointError(msg) from error


def _difference(own: Tokenizer, rebuilt: Tokenizer) -> str | None:
    """Return a text to which the two tokenizers give different ids, or None.

    Both lose their truncation and padding, which each call of transformers sets anew. They are not
    copied, because one of 250,000 tokens takes 0.3 GB.
    """
    for tokenizer in (own, rebuilt):
        tokenizer.no_truncation()
        tokenizer.no_padding()
    if _digest(own) == _digest(rebuilt):
        return None
    for text in _probes(own, rebuilt):
        if _ids(own, text) != _ids(rebuilt, text):
            return text
    return None


def _ids(tokenizer: Tokenizer, text: str) -> list[list[int]] | None:
    """Return the ids of a text, alone and in a pair; None if the tokenizer fails."""
    try:
        return [tokenizer.encode(text).ids, tokenizer.encode(text, text).ids]
    except BaseException as error:
        if not is_of_library(error):
            raise
        return None


def _digest(tokenizer: Tokenizer) -> bytes:
    return hashlib.sha256(tokenizer.to_str().encode()).digest()


def _probes(*tokenizers: Tokenizer) -> Iterator[str]:
    yield from _PROBES
    yield from shipped_sentences()
    for tokenizer in tokenizers:
        for token in tokenizer.get_added_tokens_decoder().values():
            yield f"a {token.content} b{token.content}"
