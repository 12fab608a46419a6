"""The artifact's tokenizer against the checkpoint's own, as transformers runs it."""

from pathlib import Path

import pytest

from lanner.artifact.manifest import TokenizerRecord
from lanner.text.tokenization import Tokenizer

transformers = pytest.importorskip("transformers", reason="needs the export extra")

from lanner_export.loading import load_checkpoint  # noqa: E402
from lanner_export.quality.comparison import parity_texts  # noqa: E402
from lanner_export.quality.parity import ADVERSARIAL_TEXTS  # noqa: E402


@pytest.fixture(scope="module")
def written(
    minilm_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, TokenizerRecord]:
    """The tokenizer of the real checkpoint, as an export writes it, and its record."""
    path = tmp_path_factory.mktemp("minilm") / "tokenizer.json"
    return path, load_checkpoint(str(minilm_checkpoint)).write_tokenizer(path)


def test_the_ids_are_those_of_the_checkpoint(
    written: tuple[Path, TokenizerRecord], minilm_checkpoint: Path
) -> None:
    path, record = written
    reference = transformers.AutoTokenizer.from_pretrained(minilm_checkpoint)
    texts = [*parity_texts(), *ADVERSARIAL_TEXTS]
    ours = Tokenizer(path, record).encode(texts)
    assert record.max_tokens == 256
    assert ours == [reference(text, truncation=True, max_length=256)["input_ids"] for text in texts]
    assert max(map(len, ours)) == 256


def test_padding_is_the_checkpoint_s(written: tuple[Path, TokenizerRecord]) -> None:
    assert written[1].pad_token_id == 0


def test_lower_casing_of_sentence_transformers_is_kept(tmp_path: Path) -> None:
    from tests.support.checkpoints import bert_checkpoint, edit_json  # noqa: PLC0415
    from tokenizers import normalizers  # noqa: PLC0415

    path = bert_checkpoint(tmp_path / "cased")
    edit_json(path / "sentence_bert_config.json", do_lower_case=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    tokenizer.backend_tokenizer.normalizer = normalizers.NFC()  # a cased tokenizer
    tokenizer.save_pretrained(path)
    assert tokenizer("TRAIN")["input_ids"] != tokenizer("train")["input_ids"]
    loaded = load_checkpoint(str(path))
    record = loaded.write_tokenizer(tmp_path / "tokenizer.json")
    upper, lower = Tokenizer(tmp_path / "tokenizer.json", record).encode(["TRAIN", "train"])
    assert upper == lower == tokenizer("train")["input_ids"]
