"""The frameworks that static models are compared with, where they cannot load a directory."""

import re
from pathlib import Path

import numpy as np
import pytest
from tests.support.checkpoints import word_rows

from lanner.errors import CheckpointError

pytest.importorskip("sentence_transformers", reason="needs the export extra")

from lanner_export.graph.lookup import LookupTable
from lanner_export.static.reference import model2vec_reference, sentence_transformers_reference


def test_a_directory_that_sentence_transformers_cannot_load(tmp_path: Path) -> None:
    (tmp_path / "modules.json").write_text('[{"idx": 0, "name": "0", "path": "", "type": "no"}]')
    said = f"sentence-transformers cannot load {re.escape(str(tmp_path))}: "
    with pytest.raises(CheckpointError, match=said):
        sentence_transformers_reference(tmp_path, None)(["a text"])


def test_a_directory_that_model2vec_cannot_load(tmp_path: Path) -> None:
    pytest.importorskip("model2vec", minversion="0.10", reason="the reference")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    table = LookupTable(word_rows(tmp_path, np.zeros((2, 4))))
    reference = model2vec_reference(tmp_path, tmp_path / "tokenizer.json", table, None, None)
    said = f"^model2vec cannot load {re.escape(str(tmp_path))}: .+"
    with pytest.raises(CheckpointError, match=said):
        reference(["a text"])
