import math
import re
from typing import Any

import pytest

from lanner.errors import CheckpointError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")
transformers = pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.checkpoint.config import token_limit  # noqa: E402


def limit(config: Any, own: Any = None, wanted: int | None = None) -> int:
    return token_limit(None, config, own, wanted, "the checkpoint", special_tokens=2)


def test_the_least_of_the_known_limits_is_taken() -> None:
    bert = transformers.BertConfig(max_position_embeddings=64)
    relative = transformers.T5Config()  # its positions have no end
    assert limit(bert) == 64
    assert limit(bert, own=16) == 16
    assert limit(bert, own=512) == 64
    assert limit(bert, own=16, wanted=32) == 32
    assert limit(relative, own=512) == 512
    assert limit(relative, wanted=4096) == 4096


def test_a_limit_that_nobody_names_is_asked_for() -> None:
    message = "the checkpoint does not say how long an input may be: pass --max-tokens"
    with pytest.raises(UnsupportedError, match=f"^{message}$"):
        limit(transformers.T5Config())


@pytest.mark.parametrize("own", ["512", math.inf, [512]])
def test_a_limit_is_a_number(own: Any) -> None:
    message = f"the checkpoint limits an input to {str(own)!r}, which must be a number of tokens"
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        limit(transformers.T5Config(), own=own)


@pytest.mark.parametrize(
    ("own", "wanted", "message"),
    [
        (None, 2, "--max-tokens must be from 3 on for the checkpoint, not 2"),
        (0, None, "its own limit must be from 3 on for the checkpoint, not 0"),
    ],
)
def test_an_input_has_room_for_a_text(own: Any, wanted: int | None, message: str) -> None:
    with pytest.raises(UnsupportedError, match=f"^{message}$"):
        limit(transformers.T5Config(), own, wanted)
