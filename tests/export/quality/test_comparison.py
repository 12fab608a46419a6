from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.artifact.artifact import Artifact
from lanner.engines.registry import NATIVE
from lanner.loading.load import load
from lanner.models.base import Model

pytest.importorskip("torch", reason="needs the export extra")

from tests.support.checkpoints import SENTENCES

from lanner_export.checkpoint.checkpoint import Reference
from lanner_export.loading import load_checkpoint
from lanner_export.quality.comparison import measure_quality, parity_texts
from lanner_export.quality.measures import RememberedReference, task_measure
from lanner_export.texts.quality_data import QualityData


def models_of(artifact: Artifact) -> dict[str, Model]:
    return {name: load(artifact.directory, variant=name) for name in ("fp32", "int8")}


def reference_of(checkpoint: Path, head: str, scratch: Path) -> Reference:
    return load_checkpoint(str(checkpoint), head=head, scratch=scratch).reference


def pairs_file(path: Path) -> QualityData:
    pairs = list(combinations(SENTENCES, 2))
    gold = np.random.default_rng(0).permutation(len(pairs))
    rows = [f'"{a}","{b}",{score}\n' for (a, b), score in zip(pairs, gold, strict=True)]
    path.write_text("".join(rows))
    return QualityData.read(path)


def test_parity_texts_are_real_and_adversarial() -> None:
    texts = parity_texts()
    assert len(texts) > 50
    assert "" in texts
    assert max(map(len, texts)) > 10_000
    assert any("\x00" in text for text in texts)


def test_the_card_says_what_was_measured(tiny_artifact: Artifact) -> None:
    quality = tiny_artifact.quality()
    natively = ["int8 in native"] if NATIVE.is_installed and not NATIVE.slow_here() else []
    assert list(quality["variants"]) == ["fp32", "int8", *natively]
    assert quality["variants"]["fp32"]["cosine_min"] >= 0.99999
    assert quality["variants"]["fp32"]["largest_difference"] <= 1e-4
    for name, measured in quality["variants"].items():
        assert measured["batch_independence_cosine"] >= 0.9999
        file = tiny_artifact.directory / f"model.{name.partition(' in ')[0]}.onnx"
        assert measured["bytes"] == file.stat().st_size
        assert measured["engine"] == ("native" if name in natively else "onnxruntime")
        scales = {"fp32": None, "int8": "static", "int8 in native": "token"}
        assert measured.get("scales") == scales[name]
        if name in natively:
            assert measured["batch_independence_cosine"] == pytest.approx(1, abs=1e-6)
            assert measured["cosine_mean"] > quality["variants"]["int8"]["cosine_mean"]
    assert quality["machine"]["cpu"]
    assert quality["versions"] == tiny_artifact.manifest.versions
    agreement = quality["agreement"]
    assert (agreement["data"], agreement["texts"]) == ("sentences shipped with Lanner", 162)
    measures = ("cosine", "neighbours@10", "rank_correlation")
    assert agreement["variants"]["fp32"] == pytest.approx(dict.fromkeys(measures, 1), abs=2e-3)
    int8 = agreement["variants"]["int8"]
    assert 0.9 < int8["neighbours@10"] < int8["rank_correlation"] < int8["cosine"] < 1
    assert "task" not in quality


def test_what_a_task_reaches_and_loses(
    tiny_checkpoint: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    data = pairs_file(tmp_path / "pairs.csv")
    reference = RememberedReference(reference_of(tiny_checkpoint, "embed", tmp_path))
    models = models_of(tiny_artifact)
    steps: list[str] = []
    quality = measure_quality(reference, models, data, tiny_artifact.directory, steps.append)
    assert quality["agreement"]["texts"] == len(SENTENCES)
    task = quality["task"]
    assert (task["measure"], task["data"], task["rows"]) == ("spearman", "pairs.csv", 10)
    assert (task["resamples"], task["confidence"]) == (1000, 0.95)
    measure = task_measure(models["fp32"], reference, data)
    assert task["checkpoint"]["value"] == measure.of_checkpoint().value
    for name, found in task["variants"].items():
        assert found["value"] == measure.of_model(models[name]).value
        assert found["difference"] == pytest.approx(found["value"] - task["checkpoint"]["value"])
        low, high = found["interval"]
        assert low < found["value"] < high
        # On the same rows, two models differ by less than each of them varies.
        below, above = found["difference_interval"]
        assert below <= found["difference"] <= above
        assert above - below < high - low
    assert "source" not in task
    assert steps[-1] == "spearman on pairs.csv: int8"
    assert "spearman on pairs.csv: 5 texts in the checkpoint's framework" in steps


def test_a_trimmed_checkpoint_is_compared_with_its_source(
    tiny_checkpoint: Path, tiny_artifact: Artifact, tmp_path: Path
) -> None:
    data = pairs_file(tmp_path / "pairs.csv")
    trimmed = reference_of(tiny_checkpoint, "embed", tmp_path)

    def untrimmed(inputs: Any) -> list[np.ndarray]:
        """Return vectors with more dimensions, in which all texts are nearer to each other."""
        return [np.append(vector, [1.0, 2.0]).astype(np.float32) for vector in trimmed(inputs)]

    quality = measure_quality(
        RememberedReference(trimmed),
        models_of(tiny_artifact),
        data,
        tiny_artifact.directory,
        lambda _: None,
        source=RememberedReference(untrimmed),
    )
    # Vectors of two widths have no cosine. Adding the same to all changes no ranks.
    for figures in quality["agreement"]["variants"].values():
        ranks = {"neighbours@10", "rank_correlation"}
        assert set(figures) == {"cosine", *ranks, *(f"source_{name}" for name in ranks)}
        for name in ranks:
            assert figures[f"source_{name}"] == pytest.approx(figures[name])
    task = quality["task"]
    assert task["source"]["value"] == pytest.approx(task["checkpoint"]["value"], abs=0.5)
    assert task["checkpoint"]["source_difference"] == pytest.approx(
        task["checkpoint"]["value"] - task["source"]["value"]
    )
    for figures in task["variants"].values():
        assert figures["source_difference"] == figures["value"] - task["source"]["value"]
        assert len(figures["source_difference_interval"]) == 2


def test_other_tokens_have_no_labels_to_compare(
    tagger_checkpoint: Path, tagger_artifact: Artifact, tmp_path: Path
) -> None:
    reference = reference_of(tagger_checkpoint, "tag", tmp_path)

    def untrimmed(inputs: Any) -> list[np.ndarray]:
        """Return one more token for each text."""
        return [np.vstack([logits, logits[-1:]]) for logits in reference(inputs)]

    (tmp_path / "texts.jsonl").write_text(
        '{"text": "a man plays", "entities": [{"label": "PER", "start": 2, "end": 5}]}\n'
        '{"text": "the train", "entities": []}\n'
    )
    data = QualityData.read(tmp_path / "texts.jsonl")
    models = {"fp32": load(tagger_artifact.directory, variant="fp32")}
    directory = tagger_artifact.directory
    for source, compared in ((untrimmed, False), (reference, True)):
        quality = measure_quality(
            RememberedReference(reference),
            models,
            data,
            directory,
            lambda _: None,
            source=RememberedReference(source),
        )
        assert ("source_agreement" in quality["agreement"]["variants"]["fp32"]) == compared
        assert ("source" in quality["task"]) == compared
        assert quality["task"]["variants"]["fp32"]["difference"] == 0
