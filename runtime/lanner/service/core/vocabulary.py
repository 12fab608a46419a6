"""A vocabulary of OpenAI's models, for turning token ids of its clients back into texts."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.errors import InputError, MissingExtraError, UsageError
from lanner.service.core.refusal import Kind, Refusal

if TYPE_CHECKING:
    import tiktoken


class Vocabulary:
    """Decodes token ids of one of OpenAI's vocabularies. Any number of threads may use it.

    Args:
        encoding: The encoding of tiktoken.
    """

    def __init__(self, encoding: "tiktoken.Encoding") -> None:
        self._encoding = encoding

    @classmethod
    def open(cls, name: str) -> "Vocabulary":
        """Return a vocabulary.

        Args:
            name: A file of ranks (``cl100k_base.tiktoken``: a token in base64 and its id a line),
                or a name that tiktoken knows and has in its cache, or downloads.

        Raises:
            MissingExtraError: tiktoken is not installed.
            InputError: The file cannot be read, or holds something else.
            UsageError: tiktoken does not know the name, or cannot download it.
        """
        try:
            import tiktoken  # noqa: PLC0415 (an extra)
        except ImportError as error:
            what = "openai_vocabulary"
            raise MissingExtraError(what, "tiktoken", "tiktoken") from error
        if name.endswith(".tiktoken") or Path(name).is_file():
            # The pattern splits texts, which is not needed here.
            return cls(
                tiktoken.Encoding(
                    name, pat_str="[^ ]+", mergeable_ranks=_ranks(Path(name)), special_tokens={}
                )
            )
        known = tiktoken.list_encoding_names()
        if name not in known:
            msg = (
                f"openai_vocabulary cannot be {name!r}: use {', '.join(known)}, or a file of ranks"
            )
            raise UsageError(msg)
        try:
            return cls(tiktoken.get_encoding(name))
        except OSError as error:  # errors of the library requests are OSErrors
            msg = (
                f"tiktoken cannot download the vocabulary {name} ({type(error).__name__}): give "
                f"the path of a file {name}.tiktoken instead"
            )
            raise UsageError(msg) from None

    def texts(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Return the text of each list of ids; half a character becomes U+FFFD.

        Raises:
            Refusal: An id is not of the vocabulary.
        """
        try:
            return [self._encoding.decode(list(one)) for one in ids]
        except (KeyError, OverflowError):
            msg = (
                f"input holds token ids that the vocabulary {Path(self._encoding.name).stem} of "
                "the service has not: send texts, or ids of this vocabulary"
            )
            raise Refusal(Kind.INVALID, msg, param="input") from None


def _ranks(path: Path) -> dict[bytes, int]:
    """Return the ids of tokens, as a file has them."""
    try:
        pairs = [line.split() for line in path.read_bytes().splitlines() if line]
        ranks = {base64.b64decode(token, validate=True): int(rank) for token, rank in pairs}
    except OSError as error:
        msg = f"the vocabulary {path} cannot be read ({error.strerror})"
        raise InputError(msg) from None
    except ValueError:
        msg = f"{path} is no file of ranks: it needs a token in base64 and its id in each line"
        raise InputError(msg) from None
    if not ranks or len(set(ranks.values())) < len(ranks) or min(ranks.values()) < 0:
        msg = f"{path} is no file of ranks: it needs tokens, each with an id of its own"
        raise InputError(msg)
    return ranks
