"""mteb: a task of this file, whose scores are those of sentence-transformers."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("mteb", reason="needs mteb")
pytest.importorskip("sentence_transformers", reason="needs the export extra")
import mteb
import numpy as np
from datasets import Dataset, DatasetDict
from mteb.abstasks.sts import AbsTaskSTS
from mteb.models.models_protocols import CrossEncoderProtocol, EncoderProtocol
from sentence_transformers import SentenceTransformer
from tests.support.checkpoints import SENTENCES
from tests.support.word_scorer import write_word_scorer

from lanner.artifact.artifact import Artifact
from lanner.integrations.mteb import LannerCrossEncoder, encoder

pytestmark = pytest.mark.slow


class LocalSts(AbsTaskSTS):
    metadata = mteb.TaskMetadata(
        name="LocalSts",
        description="Sentences of the tests.",
        dataset={"path": "none", "revision": "1"},
        type="STS",
        modalities=["text"],
        category="t2t",
        eval_splits=["test"],
        eval_langs=["eng-Latn"],
        main_score="cosine_spearman",
    )
    min_score, max_score = 0, 5

    def load_data(self, **_: Any) -> None:
        pairs = {
            "sentence1": [*SENTENCES],
            "sentence2": [*SENTENCES[1:], SENTENCES[0]],
            "score": [float(number % 5) for number in range(len(SENTENCES))],
        }
        self.dataset = DatasetDict({"test": Dataset.from_dict(pairs)})
        self.data_loaded = True


def score(model: Any, folder: Path) -> float:
    cache = mteb.ResultCache(folder)
    found: float = mteb.evaluate(model, [LocalSts()], cache=cache)[0].get_score()
    return found


def test_a_task_has_the_score_of_sentence_transformers(
    tiny_checkpoint: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    own = encoder(tiny_artifact.directory, variant="fp32")
    assert isinstance(own, EncoderProtocol)
    assert own.mteb_model_meta.name == "lanner/tiny-fp32"
    peer = SentenceTransformer(str(tiny_checkpoint), device="cpu")
    assert score(own, tmp_path / "a") == pytest.approx(score(peer, tmp_path / "b"), abs=1e-6)


def test_a_cross_encoder_scores_batches_of_pairs(tmp_path: Path) -> None:
    model = LannerCrossEncoder(write_word_scorer(tmp_path / "s.lanner"), variant="fp32")
    assert isinstance(model, CrossEncoderProtocol)
    assert model.mteb_model_meta.name == "lanner/scorer-fp32"
    batches = [{"text": ["a", "a"]}, {"text": ["c"]}], [{"text": ["a", "b"]}, {"text": ["c"]}]
    task = {"task_metadata": LocalSts.metadata, "hf_split": "test", "hf_subset": "default"}
    np.testing.assert_allclose(model.predict(*batches, **task), [1, 0.5, 1])
