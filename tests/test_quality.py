from pathlib import Path

import numpy as np
import pytest

from lanner.artifact import Artifact
from lanner.errors import InputError, UnsupportedError
from lanner.similarity import Vectors
from lanner.text_files import LabelledPairs

pytest.importorskip("scipy", reason="needs the export extra")

from lanner_export.quality import QualityData, parity_texts, require_measurable, spearman

ANGLES = {"0": 0, "30": 30, "60": 60, "90": 90}


def on_circle(texts: list[str]) -> Vectors:
    radians = np.deg2rad([ANGLES[text] for text in texts])
    return np.stack([np.cos(radians), np.sin(radians)], axis=1).astype(np.float32)


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([3.0, 2.0, 1.0], 100.0),
        ([1.0, 2.0, 3.0], -100.0),
        # Ranks 3 2 1 against 2 3 1: 1 - 6 * (1 + 1 + 0) / (3 * 8) = 0.5
        ([2.0, 3.0, 1.0], 50.0),
    ],
)
def test_spearman_by_hand(scores: list[float], expected: float) -> None:
    pairs = LabelledPairs(["0", "0", "0"], ["30", "60", "90"], scores)
    assert spearman(on_circle, pairs) == pytest.approx(expected)


def test_scores_without_ranks_are_refused(tmp_path: Path) -> None:
    (tmp_path / "flat.csv").write_text("a,b,2\nc,d,2.0\n")
    with pytest.raises(InputError, match=r"flat.csv has no two differing scores, so Spearman's"):
        QualityData.read(tmp_path / "flat.csv")


def test_a_model_that_finds_all_alike_has_no_correlation() -> None:
    assert spearman(on_circle, LabelledPairs(["0", "0"], ["30", "30"], [1.0, 2.0])) == 0


def test_quality_data_has_the_file_s_name(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,1\nc,d,2\n")
    assert QualityData.read(tmp_path / "pairs.csv").name == "pairs.csv"


def test_parity_texts_are_real_and_adversarial() -> None:
    texts = parity_texts()
    assert len(texts) > 50
    assert "" in texts
    assert max(map(len, texts)) > 10_000
    assert any("\x00" in text for text in texts)


def test_the_card_says_what_was_measured(tiny_artifact: Artifact) -> None:
    quality = tiny_artifact.quality()
    assert set(quality["variants"]) == {"fp32", "int8"}
    assert quality["variants"]["fp32"]["cosine_min"] >= 0.99999
    assert quality["variants"]["fp32"]["largest_difference"] <= 1e-4
    for measured in quality["variants"].values():
        assert measured["batch_independence_cosine"] >= 0.9999
    assert quality["machine"]["cpu"]
    assert "spearman" not in quality


def test_pairs_do_not_measure_labels(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("a,b,1\nc,d,2\n")
    labelled = QualityData.read(tmp_path / "pairs.csv")
    for head in ("embed", "score"):
        require_measurable(labelled, head)
    require_measurable(None, "tag")
    with pytest.raises(
        UnsupportedError,
        match=r"pairs.csv holds pairs with a score, which measure .* gets 'tag'",
    ):
        require_measurable(labelled, "tag")
