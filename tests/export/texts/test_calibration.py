from pathlib import Path

import pytest

from lanner.errors import InputError
from lanner.files.texts import shipped_sentences
from lanner_export.texts.calibration import MOST_TEXTS, CalibrationTexts, calibration_texts


def test_the_shipped_sentences_are_the_default() -> None:
    texts = calibration_texts(None)
    assert texts.texts[: len(shipped_sentences())] == shipped_sentences()
    assert max(map(len, texts.texts)) > 3 * max(map(len, shipped_sentences()))  # joined texts
    assert texts.to_json() == {
        "data": "sentences shipped with Lanner",
        "texts": len(texts.texts),
    }
    assert calibration_texts(None).texts == texts.texts  # the same each time


def test_the_user_s_own_texts_without_empty_lines(tmp_path: Path) -> None:
    path = tmp_path / "own.txt"
    path.write_text("one\n\n  \ntwo\n")
    texts = calibration_texts(path)
    assert texts.texts[:2] == ["one", "two"]
    assert all(text.strip() for text in texts.texts)
    assert texts.source == "own.txt"


def test_a_large_file_is_sampled(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    path.write_text("\n".join(f"text {n}" for n in range(5 * MOST_TEXTS)))
    texts = calibration_texts(path).texts
    assert len([text for text in texts if text.count("text") == 1]) == MOST_TEXTS
    assert texts == calibration_texts(path).texts


def test_a_file_without_a_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "empty.txt"
    path.write_text("\n \n")
    with pytest.raises(InputError, match=r"empty.txt holds no text to calibrate with: give a file"):
        calibration_texts(path)


def test_pairs_are_neighbours() -> None:
    texts = CalibrationTexts(["a", "b", "c"], "none")
    assert texts.inputs("embed") == texts.inputs("tag") == ["a", "b", "c"]
    assert texts.inputs("score") == [("a", "b"), ("b", "c"), ("c", "a")]
    assert texts.inputs("classify") == [("a", "b"), "b", ("c", "a")]
