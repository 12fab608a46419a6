import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the export extra")

from tests.support.checkpoints import word_level_tokenizer

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import TokenizerRecord
from lanner.commands import main
from lanner.errors import InputError
from lanner.text.tokenization import Tokenizer
from lanner_export.precision.variants import calibration_feeds


def test_what_is_asked_for_stands_in_the_manifest(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    arguments = ["export", tiny_checkpoint, "--output", tmp_path / "a.lanner", "--json"]
    arguments += ["--precision", "int8,int8-dynamic"]
    arguments += ["--without-pass", "one-mask", "--without-pass", "slice-positions"]
    assert main([str(argument) for argument in arguments]) == 0
    assert json.loads(capsys.readouterr().out)["variants"] == ["int8", "int8-dynamic"]
    artifact = Artifact.open(tmp_path / "a.lanner")
    int8, dynamic = artifact.manifest.variants
    assert int8.passes == dynamic.passes == ["attention-without-transposes", "move-value-bias"]
    assert int8.calibration["method"] == "mse"
    assert not dynamic.calibration
    quality = artifact.quality()["variants"]
    assert quality["int8"]["batch_independence_cosine"] >= 0.9999
    assert quality["int8-dynamic"]["batch_independence_cosine"] <= 1.0


def test_an_unknown_pass_is_one_sentence(
    tiny_checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("signal.signal", lambda *_: None)
    output = tmp_path / "a.lanner"
    arguments = ["export", tiny_checkpoint, "--output", output, "--without-pass", "nonsense"]
    assert main([str(argument) for argument in arguments]) == 1
    text = capsys.readouterr().err
    assert "there is no graph pass 'nonsense': leave out some of slice-positions, " in text
    assert "Traceback" not in text
    assert not output.exists()


def test_calibration_texts_without_tokens_are_refused(tmp_path: Path) -> None:
    words = word_level_tokenizer(["a"])
    words.post_processor = None  # nothing stands around a text
    words.save(str(tmp_path / "tokenizer.json"))
    record = TokenizerRecord(file="tokenizer.json", max_tokens=8, pad_token_id=0)
    tokenizer = Tokenizer(tmp_path / "tokenizer.json", record)
    names = ("input_ids", "attention_mask")
    with pytest.raises(InputError, match=r"^the tokenizer makes no token of any calibration text:"):
        calibration_feeds(tokenizer, names, ["", " "])
    (feed,) = calibration_feeds(tokenizer, names, ["", "a a"])
    assert feed["attention_mask"].tolist() == [[1, 1]]
