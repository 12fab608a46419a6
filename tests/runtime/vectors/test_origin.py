"""Stored vectors record their origin, and a search with another variant warns."""

import json
import logging
from pathlib import Path

import numpy as np
import pytest

from lanner.commands import main
from lanner.errors import InputError
from lanner.models.embedding import EmbeddingModel
from lanner.vectors.origin import Origin


@pytest.fixture
def stored(word_artifact: Path, tmp_path: Path) -> Path:
    path = tmp_path / "out.npy"
    assert main(["encode", str(word_artifact), "b", "a", "--variant=fp32", f"--output={path}"]) == 0
    return path


def test_a_file_beside_says_what_made_the_vectors(stored: Path, word_artifact: Path) -> None:
    origin = Origin.of(stored)
    assert origin is not None
    assert (origin.variant, origin.engine, len(origin.artifact)) == ("fp32", "onnxruntime", 16)
    assert sorted(path.name for path in stored.parent.glob("out*")) == [
        "out.npy",
        "out.npy.origin.json",
    ]
    lines = stored.with_name("out.jsonl")
    assert main(["encode", str(word_artifact), "b", "--variant=fp32", f"--output={lines}"]) == 0
    assert Origin.of(lines) == origin


def test_no_origin_of_an_earlier_file_is_left(stored: Path, word_artifact: Path) -> None:
    from lanner.files.bulk import Bulk  # noqa: PLC0415
    from lanner.files.rows import GivenRows  # noqa: PLC0415

    Bulk(GivenRows(["a"]), lambda texts: np.zeros((len(texts), 4), np.float32), stored).run()
    assert Origin.of(stored) is None


def test_a_search_by_another_variant_warns_once(
    stored: Path, word_model: EmbeddingModel, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    mapped = np.load(stored, mmap_mode="r")
    for corpus in (stored, mapped):
        assert word_model.search("a", corpus, k=1).indices.tolist() == [[1]]
    assert not caplog.messages
    beside = stored.with_name("out.npy.origin.json")
    beside.write_text(json.dumps({**json.loads(beside.read_text()), "variant": "int8"}))
    word_model.search(np.zeros(4), mapped)  # queries that another variant may have made
    word_model.search("a", np.array(mapped))  # vectors of unknown origin
    assert not caplog.messages
    for corpus in (stored, mapped[1:], stored):
        word_model.search("a", corpus)
    (message,) = caplog.messages
    assert message == (
        f"the vectors of {stored} were made by int8 in onnxruntime, and "
        f"{word_model.manifest.name} encodes the queries by fp32 in onnxruntime: vectors of two "
        "variants are not comparable, and those of two engines are not quite the same"
    )


@pytest.mark.parametrize("content", ["", "[]", "{}", "[" * 60_000, '{"variant": 1}', "\ud800"])
def test_a_damaged_origin_says_nothing(tmp_path: Path, content: str) -> None:
    path = tmp_path / "out.npy"
    path.with_name("out.npy.origin.json").write_bytes(content.encode(errors="surrogatepass"))
    assert Origin.of(path) is None


def test_what_holds_no_vectors_is_refused(tmp_path: Path, word_model: EmbeddingModel) -> None:
    path = tmp_path / "out.npy"
    with pytest.raises(InputError, match=r"out\.npy cannot be read as vectors: .*No such file"):
        word_model.search("a", path)
    path.write_bytes(b"text")
    with pytest.raises(InputError, match=r"out\.npy cannot be read as vectors: "):
        word_model.search("a", path)
    with path.open("wb") as file:
        np.savez(file, a=np.zeros(3))
    with pytest.raises(InputError, match=r"out\.npy holds no vectors: give a \.npy file of lan"):
        word_model.search("a", path)
