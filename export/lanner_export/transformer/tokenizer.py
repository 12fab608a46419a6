"""Writing the checkpoint's tokenizer as one self-contained file."""

from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from lanner.artifact.manifest import TokenizerRecord
from lanner.errors import UnsupportedError


def write_tokenizer(
    source: Any, max_tokens: int, path: Path, *, has_types: bool = False
) -> TokenizerRecord:
    """Write the tokenizer with the checkpoint's own limit and lower-casing, without padding.

    Args:
        source: A fast tokenizer of transformers. It gets this truncation, which each of its calls
            sets anew: a copy of 250,000 tokens would take 0.3 GB.
        max_tokens: Longest input, special tokens included.
        path: The path of the file.
        has_types: True if the graph takes token types.

    Raises:
        UnsupportedError: The tokenizer gives single texts token types that the graph lacks.
    """
    tokenizer: Tokenizer = source.backend_tokenizer
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_tokens, direction=source.truncation_side)
    if not has_types and any(tokenizer.encode("A text of a few words.").type_ids):
        # All-zero types are a constant inside the graph.
        msg = (
            "the tokenizer gives single texts other token types than 0, which Lanner does not "
            "support"
        )
        raise UnsupportedError(msg)
    tokenizer.save(str(path))
    return TokenizerRecord(
        file=path.name,
        max_tokens=max_tokens,
        pad_token_id=int(source.pad_token_id or 0),
        unknown_token_id=source.unk_token_id,
    )
