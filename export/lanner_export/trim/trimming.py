"""Trimming: the parts of a checkpoint that are removed before the export."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from lanner.errors import InputError
from lanner.files.texts import read_texts
from lanner.text.tokenization import check_texts
from lanner_export.checkpoint.weights import require_row_for_each_token
from lanner_export.trim.layers import keep_layers
from lanner_export.trim.vocabulary import trim_vocabulary


@dataclass(frozen=True)
class Corpus:
    """Texts like those of the service, with the name of their file."""

    name: str
    texts: list[str]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a .txt, .csv or .jsonl file; empty lines are skipped.

        Raises:
            InputError: The file cannot be read, or holds no text.
        """
        texts = [text for text in read_texts(path) if text.strip()]
        if not texts:
            msg = f"{path} holds no text to take a vocabulary from: give a file of texts"
            raise InputError(msg)
        check_texts(texts)
        return cls(path.name, texts)

    def with_prompts(self, prompts: Iterable[str]) -> list[str]:
        """Return the texts, alone and with each of the prompts."""
        return [prompt + text for prompt in dict.fromkeys(["", *prompts]) for text in self.texts]


@dataclass(frozen=True)
class Trimming:
    """The parts to keep; by default everything.

    Attributes:
        layers: The numbers of layers from 0, or the number of layers; see
            `lanner_export.trim.layers.kept_layers`.
        corpus: Texts whose tokens are enough.
    """

    layers: int | Sequence[int] | None = None
    corpus: Corpus | None = None


NO_TRIMMING = Trimming()


def trim(
    encoder: Any,
    tokenizer: Any,
    trimming: Trimming,
    *,
    prompts: Iterable[str] = (),
    max_tokens: int,
    checkpoint: str,
) -> dict[str, Any]:
    """Remove layers and tokens of a transformer and its tokenizer, in place.

    Then the table of the transformer must have a row for each token that is left, trimmed or not.

    Args:
        encoder: The transformer, without its head.
        tokenizer: Its fast tokenizer of transformers.
        trimming: The parts to keep.
        prompts: Prompts that may precede a text.
        max_tokens: Longest input.
        checkpoint: The name of the checkpoint, for messages.

    Returns:
        The trimmed parts, for the manifest: `layers` with the numbers `kept`, `tokens` with the
        number `kept` and the name of the `corpus`, each with the original count in `of`; only parts
        that became fewer.

    Raises:
        CheckpointError: A special token would be lost, or a token has no row.
        UnsupportedError: The transformer or its tokenizer cannot be trimmed in this way.
        ExportError: A text of the corpus would be split differently.
    """
    left_out: dict[str, Any] = {}
    if trimming.layers is not None:
        kept, count = keep_layers(encoder, trimming.layers, checkpoint)
        if len(kept) < count:
            left_out["layers"] = {"kept": kept, "of": count}
    if trimming.corpus is not None:
        texts = trimming.corpus.with_prompts(prompts)
        rows, all_rows = trim_vocabulary(
            encoder, tokenizer, texts, max_tokens=max_tokens, checkpoint=checkpoint
        )
        if rows < all_rows:
            left_out["tokens"] = {"kept": rows, "of": all_rows, "corpus": trimming.corpus.name}
    require_row_for_each_token(encoder, tokenizer.backend_tokenizer, checkpoint)
    return left_out
