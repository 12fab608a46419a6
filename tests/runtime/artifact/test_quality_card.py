import json
from pathlib import Path
from typing import Any

import pytest
from tests.support.word_artifact import write_manifest

from lanner.artifact.artifact import QUALITY_FILE, Artifact
from lanner.artifact.manifest import FileRecord, Variant
from lanner.artifact.quality_card import QualityCard, calibration_sentence, float32_sentence
from lanner.commands import main

MACHINE = {"cpu": "Falcon 1", "cpu_flags": ["avx2"], "cores": 2, "system": "Linux 6"}


def vectors(cosine: float, *texts: str) -> dict[str, Any]:
    return {
        "cosine_min": cosine,
        "batch_independence_cosine": 1.0,
        "worst_texts": [[text, cosine] for text in texts],
    }


def estimate(value: float, **differences: float) -> dict[str, Any]:
    found: dict[str, Any] = {"value": value, "interval": [value - 1, value + 0.5]}
    for key, difference in differences.items():
        found |= {key: difference, f"{key}_interval": [difference - 0.1, difference + 0.004]}
    return found


def task(**more: Any) -> dict[str, Any]:
    return {
        "measure": "spearman",
        "data": "pairs.csv",
        "rows": 1500,
        "resamples": 1000,
        "confidence": 0.95,
        "checkpoint": estimate(86.716),
        "variants": {
            "fp32": estimate(86.716, difference=-0.001),
            "int8": estimate(86.48, difference=-0.236),
        },
        **more,
    }


@pytest.fixture
def card(word_artifact: Path) -> QualityCard:
    manifest = Artifact.open(word_artifact).manifest
    files = {
        "model.fp32.onnx": FileRecord(90_300_000, ""),
        "model.int8.onnx": FileRecord(23_478_000, ""),
    }
    quality = {
        "texts": 63,
        "data": "sentences",
        "machine": MACHINE,
        "variants": {"fp32": vectors(1, "a"), "int8": vectors(0.93, "b\n", "c")},
        "agreement": {
            "data": "pairs.csv",
            "texts": 512,
            "variants": {
                "fp32": {"cosine": 1.0, "neighbours@10": 0.9996, "rank_correlation": 0.99999},
                "int8": {"cosine": 0.98802, "neighbours@10": 0.9071, "rank_correlation": 0.9794},
            },
        },
        "task": task(),
    }
    return QualityCard(manifest, files, quality)


def test_a_task(card: QualityCard) -> None:
    section = card.sections()[0]
    assert section.title == (
        "Spearman x100 on the 1,500 rows of pairs.csv, with 95% bootstrap intervals "
        "(1,000 resamples)"
    )
    assert section.rows == [
        ("", "Spearman x100", "against checkpoint"),
        ("checkpoint", "86.72 [85.72, 87.22]", ""),
        ("fp32", "86.72 [85.72, 87.22]", "+0.00 [-0.10, +0.00]"),
        ("int8", "86.48 [85.48, 86.98]", "-0.24 [-0.34, -0.23]"),
    ]


def test_a_variant_in_another_engine_has_a_row_of_its_own(card: QualityCard) -> None:
    natively = {**vectors(0.99, "b"), "engine": "native", "scales": "token"}
    card.quality["variants"]["int8 in native"] = natively
    card.quality["agreement"]["variants"]["int8 in native"] = {"cosine": 0.9988}
    (_, comparison) = card.sections()
    assert [row[:4] for row in comparison.rows[1:]] == [
        ("fp32", "90.3", "1.00x", "1.0000"),
        ("int8", "23.5", "0.26x", "0.9880"),
        ("int8 in native", "23.5", "0.26x", "0.9988"),
    ]


def test_a_task_of_a_trimmed_checkpoint(card: QualityCard) -> None:
    trimmed = task(
        measure="accuracy",
        source=estimate(90),
        checkpoint=estimate(88, source_difference=-2),
        variants={"int8": estimate(87, difference=-1, source_difference=-3)},
    )
    section = QualityCard(card.manifest, card.files, {**card.quality, "task": trimmed}).sections()[
        0
    ]
    assert section.title.startswith("accuracy % on the 1,500 rows")
    assert section.rows == [
        ("", "accuracy %", "against checkpoint", "against untrimmed"),
        ("untrimmed", "90.00 [89.00, 90.50]", "", ""),
        ("checkpoint", "88.00 [87.00, 88.50]", "", "-2.00 [-2.10, -2.00]"),
        ("int8", "87.00 [86.00, 87.50]", "-1.00 [-1.10, -1.00]", "-3.00 [-3.10, -3.00]"),
    ]


def test_sizes_and_the_distance_to_the_checkpoint(card: QualityCard) -> None:
    section = card.sections()[-1]
    assert section.title == (
        "against the checkpoint: cosine, neighbours@10 and rank correlation on 512 texts "
        "(pairs.csv); "
        "worst cosine and batch independence on 63 texts (sentences)"
    )
    assert section.rows == [
        (
            *("variant", "MB", "of fp32", "cosine", "neighbours@10", "rank correlation"),
            *("worst cosine", "batch independence"),
        ),
        ("fp32", "90.3", "1.00x", "1.0000", "0.9996", "1.0000", "1.0000", "1.000000"),
        ("int8", "23.5", "0.26x", "0.9880", "0.9071", "0.9794", "0.9300", "1.000000"),
    ]
    assert card.worst_title == "worst texts of int8, and their cosines"
    assert card.worst_lines() == ["0.930000  'b\\n'", "0.930000  'c'"]
    assert card.machine == "Falcon 1 (avx2), 2 cores, Linux 6"


def test_vectors_that_are_wider_than_those_they_come_from(card: QualityCard) -> None:
    agreed = {"neighbours@10": 0.8, "rank_correlation": 0.9, "source_neighbours@10": 0.7}
    agreement = {"data": "x", "texts": 3, "variants": {"fp32": agreed}}
    quality = {**card.quality, "agreement": agreement}
    section = QualityCard(card.manifest, card.files, quality).sections()[-1]
    titles = ("cosine", "neighbours@10", "rank correlation", "neighbours@10 (untrimmed)")
    assert section.rows[0][3:7] == titles
    assert section.rows[1][3:7] == ("-", "0.8000", "0.9000", "0.7000")
    assert section.rows[2][3:7] == ("-", "-", "-", "-")
    assert "cosine, neighbours@10 and rank correlation on 3 texts (x)" in section.title


def test_the_correlation_that_an_older_card_calls_neighbours(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = word_artifact / QUALITY_FILE
    figures = {"cosine": 0.99, "neighbours": 0.9867, "source_neighbours": 0.9812}
    agreement = {"data": "x", "texts": 3, "variants": {"int8": figures}}
    path.write_text(json.dumps({**json.loads(path.read_text()), "agreement": agreement}))
    write_manifest(word_artifact)
    assert main(["inspect", str(word_artifact)]) == 0
    lines = capsys.readouterr().out.splitlines()
    (header,) = (line for line in lines if line.startswith("variant") and "cosine" in line)
    (row,) = (line for line in lines if line.startswith("int8") and "0.9867" in line)
    column = header.index("rank correlation")
    assert row[column:].split()[:2] == ["0.9867", "0.9812"]
    assert row[:column].split()[-1] == "-"  # neighbours@10


def test_labels(word_artifact: Path) -> None:
    write_manifest(word_artifact, head="tag", labels=list("abcd"), activation="softmax")
    manifest = Artifact.open(word_artifact).manifest
    measured = {
        name: {
            "mean_score_difference": off,
            "batch_independence_difference": off / 10,
            "worst_texts": [["x", off]],
        }
        for name, off in (("fp32", 1e-6), ("int8", 0.02))
    }
    agreement = {"data": "x", "texts": 3, "variants": {"int8": {"agreement": 0.97}}}
    quality = {"texts": 2, "data": "y", "variants": measured, "agreement": agreement}
    card = QualityCard(manifest, manifest.files, quality)
    (section,) = card.sections()
    assert [row[3:] for row in section.rows] == [
        ("same labels", "mean score difference", "batch dependence"),
        ("-", "1.0e-06", "1.0e-07"),
        ("0.9700", "2.0e-02", "2.0e-03"),
    ]
    assert card.worst_title == "worst texts of int8, and how far their scores are off"
    assert card.worst_lines() == ["0.020000  'x'"]
    assert card.meaning.startswith("Same labels is the share of tokens")


def test_what_an_older_lanner_did_not_measure(
    word_artifact: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(word_artifact)]) == 0
    text = capsys.readouterr().out
    assert "  default     " in text
    assert "against the checkpoint: worst cosine and batch independence on 1 texts (none):" in text
    (row,) = (line for line in text.splitlines() if line.startswith("fp32") and "1.00x" in line)
    assert row.split()[2:] == ["1.00x", "-", "-", "-", "1.0000", "1.000000"]
    assert "worst texts" not in text
    assert text.endswith("measured on an unknown machine\n")
    assert max(map(len, text.splitlines())) <= 100


def test_without_fp32_there_is_no_ratio(card: QualityCard) -> None:
    manifest = card.manifest
    alone = type(manifest)(**{**vars(manifest), "variants": manifest.variants[1:]})
    rows = QualityCard(alone, card.files, card.quality).sections()[-1].rows
    assert rows[1][:3] == ("int8", "23.5", "-")


def test_how_a_variant_was_quantized() -> None:
    def variant(**more: Any) -> Variant:
        return Variant("int8", "int8", "model.int8.onnx", "onnxruntime", 23, {}, **more)

    assert calibration_sentence(variant()) == ""
    of = {"data": "texts.txt", "texts": 1517}
    assert calibration_sentence(variant(calibration=of)) == "1,517 texts (texts.txt)"
    of |= {"method": "mse"}
    assert calibration_sentence(variant(calibration=of)) == "1,517 texts (texts.txt), mse"
    assert float32_sentence(variant(products=36)) == ""
    assert float32_sentence(variant(float32_products=["a", "b"])) == "a, b"
    assert float32_sentence(variant(products=36, budget="cosine:0.9")) == (
        "none (0 of 36), for the budget cosine:0.9"
    )
    assert float32_sentence(variant(float32_products=list("abcde"), products=36)) == (
        "a, b, c, ... (5 of 36)"
    )
