"""The config.pbtxt of a Triton model, read and written through Triton's own schema.

The schema: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from lanner.errors import MissingExtraError, RepositoryError

try:
    from google.protobuf import text_format
    from tritonclient.grpc.model_config_pb2 import ModelConfig
except ImportError as error:
    what = "a Triton model repository"
    raise MissingExtraError(what, "triton", "tritonclient") from error

CONFIG_FILE = "config.pbtxt"


def parse_config(text: str, place: Path) -> Any:
    """Return the `ModelConfig` of a config.pbtxt.

    Args:
        text: The content.
        place: The path of the file, for the message.

    Raises:
        RepositoryError: The text is not in the text format of the schema; the message names line
            and column.
    """
    try:
        return text_format.Parse(text, ModelConfig())
    except text_format.ParseError as error:
        msg = (
            f"{place} is not a model configuration of Triton: {error}: fix it there, or make the "
            "repository again with 'lanner repository'"
        )
        raise RepositoryError(msg) from error  # the cause holds the line


def read_config(path: Path) -> Any:
    """Return the `ModelConfig` in a file.

    Raises:
        RepositoryError: The file is missing, or not in the text format of the schema.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        msg = f"{path} cannot be read as a model configuration of Triton ({error})"
        raise RepositoryError(msg) from None
    return parse_config(text, path)


def written_config(sections: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Return the text of a config.pbtxt.

    Args:
        sections: Pairs of a comment and the fields of the schema under it, in order.
    """
    parts = []
    for comment, fields in sections:
        lines = [f"# {line}".rstrip() + "\n" for line in comment.splitlines()]
        parts.append("".join(lines) + _written(fields))
    return "\n".join(parts)


def _written(fields: dict[str, Any]) -> str:
    text: str = text_format.MessageToString(ModelConfig(**fields), as_utf8=True)
    return text
