"""The frameworks that static models are compared with, where they cannot load a directory."""

import re
from pathlib import Path

import pytest

from lanner.errors import CheckpointError

pytest.importorskip("sentence_transformers", reason="needs the export extra")

from lanner_export.static.reference import sentence_transformers_reference


def test_a_directory_that_sentence_transformers_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "no"}]')
    said = f"sentence-transformers cannot load {re.escape(str(tmp_path))}: "
    with pytest.raises(CheckpointError, match=said):
        sentence_transformers_reference(tmp_path, None)(["a text"])
