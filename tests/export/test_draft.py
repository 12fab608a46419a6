from pathlib import Path

import numpy as np
import pytest
from tests.support.checkpoints import SENTENCES

from lanner.artifact.artifact import Artifact
from lanner.loading.load import load
from lanner.models.embedding import EmbeddingModel

pytest.importorskip("torch", reason="needs the export extra")

from lanner_export.draft import Draft
from lanner_export.loading import load_checkpoint
from lanner_export.progress import silent


def test_all_variants_share_one_tokenizer(tiny_checkpoint: Path, tiny_artifact: Artifact) -> None:
    checkpoint = load_checkpoint(str(tiny_checkpoint))
    draft = Draft(tiny_artifact.directory, checkpoint, tiny_artifact.manifest, silent)
    models = draft.models
    assert {"fp32", "int8"} <= set(models)
    assert len({id(model.tokenizer) for model in models.values()}) == 1
    exact = models["fp32"]
    assert isinstance(exact, EmbeddingModel)
    expected = load(tiny_artifact.directory, variant="fp32", engine="onnxruntime")
    np.testing.assert_allclose(
        exact.encode(SENTENCES), expected.encode(SENTENCES), rtol=1e-4, atol=1e-6
    )
