"""Artifacts in storage: fetched once a node, verified, and nothing else than the manifest lists."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("fsspec", reason="needs the extra 'distributed'")
import fsspec

from lanner.artifact.artifact import Artifact
from lanner.distributed import ArrowEncoder
from lanner.distributed.storage import fetched, filesystem
from lanner.errors import ArtifactError, CorruptArtifactError, InputError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LANNER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_artifact_is_fetched_once_and_verified(word_artifact: Path, cache: Path) -> None:
    (word_artifact / "diary.txt").write_text("not of the artifact")
    memory = fsspec.filesystem("memory")
    memory.put(str(word_artifact), "/models/words.lanner", recursive=True)
    place = "memory://models/words.lanner"
    found = fetched(place)
    checksum = Artifact.open(word_artifact).manifest.checksum
    assert found == cache / checksum
    assert sorted(path.name for path in found.iterdir()) == sorted(
        path.name for path in word_artifact.iterdir() if path.name != "diary.txt"
    )
    encoder = ArrowEncoder(place, variant="fp32")
    memory.rm("/models", recursive=True)
    assert fetched(place, checksum) == found
    pa = pytest.importorskip("pyarrow")
    assert encoder(pa.table({"text": ["b"]})).column("embedding").to_pylist() == [[0, 1, 0, 0]]


def test_damage_is_found_before_the_artifact_has_its_name(
    word_artifact: Path, cache: Path, tmp_path: Path
) -> None:
    stored = tmp_path / "stored"
    shutil.copytree(word_artifact, stored)
    place = f"file://{stored}"
    (stored / "tokenizer.json").write_bytes((stored / "tokenizer.json").read_bytes() + b" ")
    with pytest.raises(CorruptArtifactError, match=r"tokenizer.json is longer than when it was wr"):
        fetched(place)
    assert [path.name for path in cache.iterdir() if not path.name.startswith(".")] == []
    (stored / "tokenizer.json").unlink()
    with pytest.raises(
        ArtifactError, match=r"^file://\S+ holds no tokenizer.json, so it is no art"
    ):
        fetched(place)
    with pytest.raises(
        ArtifactError, match=r"^file://\S+ is another artifact than at the start \(it"
    ):
        fetched(place, "0" * 64)
    with pytest.raises(
        ArtifactError, match=r"^file:///nowhere holds no manifest.json, so it is no "
    ):
        fetched("file:///nowhere")


def test_storage_that_fsspec_does_not_know() -> None:
    with pytest.raises(InputError, match=r"^ftps3://a/b is in no storage that fsspec knows: "):
        filesystem("ftps3://a/b")
