import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.bounds import at_most_cpu_s
from tests.support.word_artifact import write_word_artifact

from lanner.artifact.artifact import Artifact, foreign_files, is_batch_independent
from lanner.artifact.manifest import MANIFEST_FILE, FileRecord, Manifest, RangesRecord
from lanner.errors import ArtifactError, CorruptArtifactError, VariantError
from lanner.loading.load import load


def test_a_whole_artifact_verifies(word_artifact: Path) -> None:
    artifact = Artifact.open(str(word_artifact))
    artifact.verify()
    assert artifact.quality()["texts"] == 1


@pytest.mark.parametrize("name", ["tokenizer.json", "model.fp32.onnx", "quality.json"])
def test_a_changed_byte_in_any_file_is_found(word_artifact: Path, name: str) -> None:
    path = word_artifact / name
    raw = bytearray(path.read_bytes())
    raw[len(raw) // 2] ^= 1
    path.write_bytes(raw)
    with pytest.raises(CorruptArtifactError, match=rf"{name} was changed after it was written"):
        Artifact.open(word_artifact).verify()


def test_a_truncated_file_is_found(word_artifact: Path) -> None:
    path = word_artifact / "model.int8.onnx"
    size = path.stat().st_size
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(
        CorruptArtifactError, match=rf"is truncated \(100 bytes, the manifest says {size:,}\): copy"
    ):
        Artifact.open(word_artifact).verify()


def test_a_missing_file_is_found(word_artifact: Path) -> None:
    (word_artifact / "tokenizer.json").unlink()
    with pytest.raises(CorruptArtifactError, match=r"tokenizer.json is missing: copy it again"):
        Artifact.open(word_artifact).verify()


def test_an_unlisted_file_is_not_used(word_artifact: Path) -> None:
    (word_artifact / "extra.onnx").write_bytes(b"x")
    with pytest.raises(ArtifactError, match=r"lists no file 'extra.onnx'"):
        Artifact.open(word_artifact).file("extra.onnx")


def test_a_path_out_of_the_artifact_is_refused(word_artifact: Path) -> None:
    opened = Artifact.open(word_artifact)
    record = opened.manifest.files["tokenizer.json"]
    (word_artifact.parent / "outside").write_bytes(b"x")
    manifest = replace(opened.manifest, files={"../outside": record})
    with pytest.raises(ArtifactError, match=r"names the file '../outside' outside itself"):
        Artifact(word_artifact, manifest).file("../outside")


def test_linked_files_load(word_artifact: Path) -> None:
    # As Kubernetes mounts a ConfigMap: each name leads through "..data" to a dated directory.
    expected = load(word_artifact, variant="fp32").encode("a b").tolist()
    mounted = word_artifact.with_name("mounted")
    word_artifact.rename(mounted.with_name("..2026"))
    mounted.mkdir()
    (mounted / "..data").symlink_to(mounted.with_name("..2026"))
    for entry in (mounted / "..data").iterdir():
        (mounted / entry.name).symlink_to(Path("..data") / entry.name)
    assert load(mounted, variant="fp32").encode("a b").tolist() == expected
    Artifact.open(mounted).verify()


def test_a_link_to_something_else_is_found(word_artifact: Path) -> None:
    path = word_artifact / "tokenizer.json"
    whole = path.rename(word_artifact.parent / "elsewhere.json")
    other = word_artifact.parent / "other.json"
    other.write_bytes(whole.read_bytes().replace(b"a", b"b", 1))
    os.mkfifo(word_artifact.parent / "fifo")
    for target, problem in (
        (other, r"was changed after it was written \(its SHA-256 is not the manifest's\)"),
        (word_artifact.parent / "fifo", "is not a regular file"),
        (word_artifact.parent, "is not a regular file"),
        (Path("/dev/zero"), "is not a regular file"),
        (word_artifact.parent / "gone", "is missing"),
    ):
        path.unlink(missing_ok=True)
        path.symlink_to(target)
        with pytest.raises(CorruptArtifactError, match=rf"tokenizer.json {problem}: copy it again"):
            Artifact.open(word_artifact).file("tokenizer.json")


@pytest.mark.parametrize("name", ["tokenizer.json", "model.fp32.onnx", "ranges.npy"])
def test_a_sparse_giant_is_refused_before_it_is_read(word_artifact: Path, name: str) -> None:
    opened = Artifact.open(word_artifact)
    giant = FileRecord(8 * 2**30, "0" * 64)
    ranges = RangesRecord("ranges.npy", "texts", 1)
    manifest = replace(
        opened.manifest,
        embedding_ranges=ranges,
        files={**opened.manifest.files, "ranges.npy": FileRecord(10, "0" * 64), name: giant},
    )
    (word_artifact / "manifest.json").write_bytes(manifest.to_bytes())
    with (word_artifact / name).open("wb") as file:
        file.truncate(giant.bytes)
    with (
        at_most_cpu_s(1),  # its sum would take seconds
        pytest.raises(ArtifactError, match=rf"{name} has more than the [\d,]+ bytes that such a f"),
    ):
        Artifact.open(word_artifact)


def test_auto_takes_int8(word_artifact: Path) -> None:
    assert Artifact.open(word_artifact).choose().name == "int8"


def test_auto_never_takes_a_variant_that_depends_on_its_batch(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    path = write_word_artifact(tmp_path / "dynamic", batch_independence=0.991)
    assert Artifact.open(path).choose().name == "fp32"


def test_auto_says_so_when_nothing_is_safe(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    opened = Artifact.open(write_word_artifact(tmp_path / "dynamic", batch_independence=0.991))
    only_int8 = replace(opened.manifest, variants=opened.manifest.variants[1:])
    with pytest.raises(VariantError, match=r"no variant that is safe .* name one of: int8"):
        Artifact(opened.directory, only_int8).choose()


def test_auto_never_takes_dynamic_scales(word_artifact: Path) -> None:
    opened = Artifact.open(word_artifact)
    fp32, int8 = opened.manifest.variants
    dynamic = replace(int8, name="int8-dynamic", precision="int8-dynamic")
    both = Artifact(word_artifact, replace(opened.manifest, variants=[dynamic, fp32]))
    assert both.choose().name == "fp32"
    alone = Artifact(word_artifact, replace(opened.manifest, variants=[dynamic]))
    with pytest.raises(VariantError, match=r"no variant that is safe .* name one of: int8-dynamic"):
        alone.choose()
    assert alone.choose("int8-dynamic") == dynamic


def test_an_unknown_variant_names_those_there_are(word_artifact: Path) -> None:
    with pytest.raises(
        VariantError, match=r"holds no variant 'fp16', only fp32, int8: name one of them, or export"
    ):
        Artifact.open(word_artifact).choose("fp16")


def test_opening_reads_no_model_file(word_artifact: Path) -> None:
    for path in word_artifact.glob("*.onnx"):
        path.unlink()
    assert isinstance(Artifact.open(word_artifact).manifest, Manifest)


@pytest.mark.parametrize(
    ("measured", "is_so"),
    [
        ({"batch_independence_cosine": 0.9999}, True),
        ({"batch_independence_cosine": 0.9998}, False),
        ({"batch_independence_cosine": float("nan")}, False),
        ({"batch_independence_difference": 0.01}, True),
        ({"batch_independence_difference": 0.011}, False),
        ({"batch_independence_difference": float("nan")}, False),
    ],
)
def test_batch_independence_of_vectors_and_of_scores(
    measured: dict[str, float], is_so: bool
) -> None:
    assert is_batch_independent(measured) == is_so


def test_foreign_files(word_artifact: Path, tmp_path: Path) -> None:
    assert foreign_files(word_artifact) == []
    (word_artifact / "diary.txt").touch()
    assert foreign_files(word_artifact) == ["diary.txt"]
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / MANIFEST_FILE).write_text('{"name": "my web app", "files": {}}')
    assert foreign_files(tmp_path / "app") == [MANIFEST_FILE]
    assert foreign_files(word_artifact / "diary.txt") == ["diary.txt"]


def test_a_damaged_artifact_holds_nothing_foreign(word_artifact: Path) -> None:
    path = word_artifact / MANIFEST_FILE
    path.write_text(path.read_text().replace("words", "swords"))
    assert foreign_files(word_artifact) == []
