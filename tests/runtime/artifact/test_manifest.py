import json
import os
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.word_artifact import write_manifest

from lanner.artifact import fields
from lanner.artifact import manifest as manifest_module
from lanner.artifact.manifest import MANIFEST_FILE, Manifest, file_sha256
from lanner.artifact.records import LateInteraction
from lanner.errors import ArtifactError, CorruptArtifactError, FormatVersionError
from lanner.vectors.late_interaction import MAXSIM_NAMES
from lanner.vectors.similarity import SIMILARITY_NAMES


def test_what_is_written_is_read_back(word_artifact: Path) -> None:
    manifest = Manifest.read(word_artifact)
    assert manifest.name == "words"
    assert manifest.tokenizer.max_tokens == 4
    assert [variant.name for variant in manifest.variants] == ["fp32", "int8"]
    assert manifest.to_bytes() == (word_artifact / MANIFEST_FILE).read_bytes()
    assert manifest.checksum == file_sha256(word_artifact / MANIFEST_FILE)


def test_a_manifest_from_before_there_were_ranges(word_artifact: Path) -> None:
    path = word_artifact / MANIFEST_FILE
    content = json.loads(path.read_text())
    del content["sha256"], content["embedding_ranges"]
    signed = {**content, "sha256": manifest_module._digest(content)}
    path.write_bytes(manifest_module._canonical(signed))
    assert Manifest.read(word_artifact).embedding_ranges is None


def test_sha256_is_that_of_the_standard(tmp_path: Path) -> None:
    # FIPS 180-2, appendix B.1
    (tmp_path / "abc").write_bytes(b"abc")
    assert file_sha256(tmp_path / "abc") == (
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_changed_byte_anywhere_is_found(word_artifact: Path, data: st.DataObject) -> None:
    path = word_artifact / MANIFEST_FILE
    raw = path.read_bytes()
    place = data.draw(st.integers(0, len(raw) - 1))
    new = data.draw(st.integers(0, 255).filter(lambda byte: byte != raw[place]))
    path.write_bytes(raw[:place] + bytes([new]) + raw[place + 1 :])
    try:
        with pytest.raises(ArtifactError, match=r"changed or damaged|newer|upgrade"):
            Manifest.read(word_artifact)
    finally:
        path.write_bytes(raw)


def test_every_digit_may_change(word_artifact: Path) -> None:
    # 1e9, 22e13216 and "\\ud800" are valid JSON that cannot be written in canonical form.
    path = word_artifact / MANIFEST_FILE
    raw = path.read_bytes()
    for place in [n for n, byte in enumerate(raw) if chr(byte).isdigit()]:
        path.write_bytes(raw[:place] + b"e" + raw[place + 1 :])
        with pytest.raises(CorruptArtifactError, match=r"was changed or damaged"):
            Manifest.read(word_artifact)


@pytest.mark.parametrize(
    "content", [b"", b"[]", b"{}", b"\xff\xfe", b'"text"', b"null", b"[" * 200_000]
)
def test_what_is_no_manifest_is_refused(word_artifact: Path, content: bytes) -> None:
    (word_artifact / MANIFEST_FILE).write_bytes(content)
    with pytest.raises(CorruptArtifactError, match=r"was changed or damaged after it was written"):
        Manifest.read(word_artifact)


def test_a_newer_format_asks_for_an_upgrade(word_artifact: Path) -> None:
    path = word_artifact / MANIFEST_FILE
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "format_version": 2, "unheard_of": True}))
    with pytest.raises(
        FormatVersionError,
        match=r"has format version 2, but this Lanner reads up to 1: upgrade it with pip",
    ):
        Manifest.read(word_artifact)


def variant(**changes: object) -> dict[str, object]:
    return {
        "name": "fp32",
        "precision": "fp32",
        "file": "model.fp32.onnx",
        "engine": "onnxruntime",
        "opset": 23,
        "fused_ops": {},
        **changes,
    }


RANGES = {"file": "ranges.npy", "data": "by hand", "vectors": 9}
TOKENIZER = {"file": "tokenizer.json", "max_tokens": 4, "pad_token_id": 0}


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"dimension": "12"}, r"'dimension' has the wrong type"),
        ({"dimension": 0}, r"'dimension', 'max_tokens' and 'max_active_dims' must be at least 1"),
        ({"max_active_dims": 0}, r"and 'max_active_dims' must be at least 1"),
        ({"prompts": None}, r"'prompts' has the wrong type"),
        ({"source": []}, r"'source' has the wrong type"),
        ({"files": {}}, r"'files' lacks 'model.fp32.onnx'"),
        ({"head": "tag"}, r"'labels' must be 4, one for each logit"),
        ({"activation": "tanh"}, r"'activation' must be one of identity, sigmoid, softmax"),
        ({"scored_label": "x"}, r"'scored_label' must be one of None"),
        ({"tokenizer": {**TOKENIZER, "kind": "slow"}}, r"'kind' must be one of tokenizers, words"),
        (
            {"tokenizer": {**TOKENIZER, "max_tokens": 0}},
            r"'max_tokens' and 'max_active_dims' must be at least 1",
        ),
        ({"embedding_ranges": RANGES}, r"'files' lacks 'ranges.npy'"),
        ({"embedding_ranges": {**RANGES, "vectors": "9"}}, r"'vectors' has the wrong type"),
        (
            {"embedding_ranges": RANGES, "head": "score", "labels": list("abcd")},
            r"'embedding_ranges' is only for the head 'embed'",
        ),
        (
            {"embedding_ranges": RANGES, "head": "tokens"},
            r"'embedding_ranges' is only for the head 'embed'",
        ),
        ({"query_weights": "query.npy"}, r"'query_weights' is only for the head 'sparse'"),
        ({"max_active_dims": 3}, r"'max_active_dims' is only for the head 'sparse'"),
        (
            {"late_interaction": asdict(LateInteraction(4, 4)), "head": "sparse"},
            r"'late_interaction' is only for the head 'tokens'",
        ),
        ({"name": 7}, r"'name' has the wrong type"),
        ({"name": "x" * 256}, r"'name' or 'variants' is longer than an export makes it"),
        (
            {"variants": [variant(name=str(n)) for n in range(101)]},
            r"'name' or 'variants' is longer than an export makes it",
        ),
        ({"similarity": "x" * 10**6}, r"'similarity' must be one of"),
        ({"outputs": ["x" * 10**6]}, r"'x{499}$"),
        ({"labels": [["x"]]}, r"'labels' has the wrong type"),
        ({"prompts": {"query": None}}, r"'prompts' has the wrong type"),
        ({"dimension": True}, r"'dimension' has the wrong type"),
        ({"dimension": 10**30}, r"'dimension' has the wrong type"),
        ({"dimension": 2**25}, r"33554432 is more than any model has"),
        ({"tokenizer": {**TOKENIZER, "max_tokens": 2**40}}, r"1099511627776 is more than any"),
        ({"tokenizer": {**TOKENIZER, "pad_token_id": -1}}, r"'pad_token_id' must be a token's id"),
        ({"tokenizer": {**TOKENIZER, "max_characters": -1}}, r"must not be negative"),
        ({"similarity": "jaccard"}, r"'similarity' must be one of , cosine, dot, euclidean, manh"),
        ({"inputs": ["text"]}, r"'inputs' must be one of input_ids, attention_mask, token_type_i"),
        ({"inputs": []}, r"'inputs' and 'outputs' must not be empty"),
        ({"outputs": ["a\nb"]}, r"'a\\nb' must be of letters, digits, '_', '.' and '-'"),
        (
            {"variants": [variant(engine="python")]},
            r"'engine' must be one of onnxruntime, tensorrt",
        ),
        ({"variants": [variant(name="fp32\x1b[2J")]}, r"must be of letters, digits"),
        ({"variants": [variant(), variant()]}, r"two variants have the same name"),
        ({"variants": [variant(file="model.py")]}, r"'model.py' is not a file name: it must co"),
        ({"variants": [variant(file="../model.onnx")]}, r"'../model.onnx' is not a file name"),
        ({"variants": [variant(file="tokenizer.json")]}, r"a file is listed for two purposes"),
        ({"variants": [variant(passes="all")]}, r"'passes' has the wrong type"),
        ({"variants": 1}, r"not iterable"),
        ({"tokenizer": {**TOKENIZER, "file": "numpy.so"}}, r"'numpy.so' is not a file name"),
        ({"files": {"model.py": {"bytes": 0, "sha256": ""}}}, r"'model.py' is not a file name"),
        ({"files": {"model.fp32.onnx": {"bytes": -1, "sha256": ""}}}, r"must not be negative"),
        ({"surprise": 1}, r"unexpected keyword argument 'surprise'"),
    ],
)
def test_a_well_signed_manifest_of_odd_content(
    word_artifact: Path, changes: dict[str, object], problem: str
) -> None:
    path = word_artifact / MANIFEST_FILE
    content = {**json.loads(path.read_text()), **changes}
    del content["sha256"]
    signed = {**content, "sha256": manifest_module._digest(content)}
    path.write_bytes(manifest_module._canonical(signed))
    with pytest.raises(ArtifactError, match=rf"the fields of format version 1: .*{problem}"):
        Manifest.read(word_artifact)


def test_a_head_of_a_newer_lanner(word_artifact: Path) -> None:
    write_manifest(word_artifact, head="summarise", labels=list("abcd"))
    with pytest.raises(
        FormatVersionError,
        match=r"manifest.json has the head 'summarise', but this Lanner has embed, score, classify",
    ):
        Manifest.read(word_artifact)


def test_a_manifest_that_is_no_file_or_too_large(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = word_artifact / MANIFEST_FILE
    with path.open("r+b") as file:
        file.truncate(8 * 2**30)  # sparse
    with pytest.raises(ArtifactError, match=r"has more than the 33,554,432 bytes that such a file"):
        Manifest.read(word_artifact)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(
        ArtifactError, match=r"cannot be read \(not a regular file\): check that it"
    ):
        Manifest.read(word_artifact)


def test_the_similarities_are_those_that_vectors_have() -> None:
    assert (*SIMILARITY_NAMES, *MAXSIM_NAMES) == fields.SIMILARITIES


def test_a_directory_without_a_manifest_is_no_artifact(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"holds no manifest.json, so it is not a Lanner"):
        Manifest.read(tmp_path)


def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"nowhere is not a directory: pass one that"):
        Manifest.read(tmp_path / "nowhere")


def test_an_artifact_can_be_moved(word_artifact: Path, tmp_path: Path) -> None:
    moved = shutil.move(word_artifact, tmp_path / "moved")
    assert Manifest.read(Path(moved)).name == "words"
