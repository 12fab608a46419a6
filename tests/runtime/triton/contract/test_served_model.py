import base64
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support.manifests import FP32, manifest
from tests.support.word_artifact import DIMENSION, write_manifest

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import RangesRecord
from lanner.errors import ArtifactError, CorruptArtifactError, InputError, ServerError
from lanner.triton.contract.served_model import ServedModel, carried_files


def served(parameters: dict[str, str], version: str = "1") -> ServedModel:
    return ServedModel("minilm", version, parameters, max_batch_size=8)


def test_what_is_carried_is_unpacked_again(word_artifact: Path) -> None:
    artifact = Artifact.open(word_artifact)
    parameters = carried_files(artifact, 3)
    assert list(parameters) == ["lanner_file.3.manifest.json", "lanner_file.3.tokenizer.json"]
    packed = base64.b64decode(parameters["lanner_file.3.tokenizer.json"])
    assert zlib.decompress(packed) == (word_artifact / "tokenizer.json").read_bytes()
    with served(parameters, "3").artifact() as found:
        assert found.manifest == artifact.manifest
        assert sorted(path.name for path in found.directory.iterdir()) == [
            "manifest.json",
            "tokenizer.json",
        ]
        tokenizer = found.file("tokenizer.json").read_bytes()
        assert tokenizer == (word_artifact / "tokenizer.json").read_bytes()
    assert not found.directory.exists()


def test_a_text_model_carries_no_tokenizer(word_artifact: Path) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1, is_text=True)
    assert list(parameters) == ["lanner_file.1.manifest.json"]


def test_ranges_are_carried(word_artifact: Path) -> None:
    np.save(word_artifact / "ranges.npy", np.zeros((2, DIMENSION), np.float32))
    write_manifest(word_artifact, embedding_ranges=RangesRecord("ranges.npy", "by hand", 1))
    parameters = carried_files(Artifact.open(word_artifact), 1, is_text=True)
    assert list(parameters) == ["lanner_file.1.manifest.json", "lanner_file.1.ranges.npy"]


def test_each_version_carries_its_own(word_artifact: Path) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1)
    write_manifest(word_artifact, created="later")
    parameters |= carried_files(Artifact.open(word_artifact), 12)
    for version, created in (("1", "2026-01-01T00:00:00Z"), ("12", "later")):
        with served(parameters, version).artifact() as found:
            assert found.manifest.created == created


@pytest.mark.parametrize("version", ["1", "2"])
def test_a_model_that_carries_nothing(word_artifact: Path, version: str) -> None:
    parameters = {} if version == "1" else carried_files(Artifact.open(word_artifact), 1)
    message = (
        f"the model minilm on the server carries no tokenizer of its version {version}: make its "
        "repository with 'lanner repository', or pass artifact= with the artifact that it was made "
        "from"
    )
    with (
        pytest.raises(ServerError, match=f"^{re.escape(message)}$"),
        served(parameters, version).artifact(),
    ):
        pass


@pytest.mark.parametrize("content", ["*", "é", "eA==", "YWJj", ""])
def test_what_is_carried_and_damaged(word_artifact: Path, content: str) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1)
    parameters["lanner_file.1.tokenizer.json"] = content
    message = "the tokenizer.json that the model minilm on the server carries is damaged ("
    with (
        pytest.raises(ArtifactError, match=re.escape(message)),
        served(parameters).artifact(),
    ):
        pass


def test_what_is_carried_and_not_what_the_manifest_says(word_artifact: Path) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1)
    other = base64.b64encode(zlib.compress(b"{}")).decode()
    parameters["lanner_file.1.tokenizer.json"] = other
    with (
        served(parameters).artifact() as found,
        pytest.raises(CorruptArtifactError, match=r"tokenizer.json is truncated \(2 bytes, "),
    ):
        found.file("tokenizer.json")


def test_what_it_takes() -> None:
    assert served({"lanner_input": "text"}).takes_texts
    assert not served({"lanner_input": "tokens"}).takes_texts
    assert not served({}).takes_texts


def test_its_buckets() -> None:
    assert served({"lanner_buckets": "16,32"}).buckets == (16, 32)
    assert served({}).buckets == ()
    with pytest.raises(
        InputError, match=r"the buckets '32,16' must be increasing lengths in tokens"
    ):
        _ = served({"lanner_buckets": "32,16"}).buckets


@pytest.mark.parametrize(
    ("groups", "instances"),
    [
        ([], 1),
        ([{"count": 2, "kind": "KIND_CPU"}], 2),
        ([{"count": 2}, {"kind": "KIND_CPU"}], 3),
    ],
)
def test_its_instances(groups: list[dict[str, Any]], instances: int) -> None:
    config = {"max_batch_size": 8, "instance_group": groups}
    assert ServedModel.of("minilm", "1", config).instances == instances


@pytest.mark.parametrize(
    ("cores", "instances", "parameters", "threads"),
    [
        (4, 1, {}, 4),
        (4, 2, {}, 2),
        (5, 2, {}, 2),
        (2, 3, {}, 1),
        (4, 2, {"threads": "3"}, 3),
        (4, 1, {"threads": "1"}, 1),
    ],
)
def test_the_cores_of_an_instance(
    cores: int, instances: int, parameters: dict[str, str], threads: int
) -> None:
    found = ServedModel("minilm", "1", parameters, max_batch_size=8, instances=instances)
    assert found.threads(cores) == threads


@pytest.mark.parametrize("value", ["", "0", "-1", "1.5", "many"])
def test_what_is_no_count(value: str) -> None:
    message = (
        "the parameter threads in the config.pbtxt of minilm must be an integer of at least 1, not "
        f"{value!r}"
    )
    with pytest.raises(ServerError, match=f"^{re.escape(message)}$"):
        served({"threads": value}).threads(4)


def test_its_variant() -> None:
    assert served({"lanner_variant": "fp32"}).variant(manifest()) == FP32
    unknown = served({"lanner_variant": "int4"}).variant(manifest())
    assert (unknown.name, unknown.precision, unknown.engine, unknown.file) == (
        "int4",
        "int4",
        "triton",
        "",
    )
    assert served({}).variant(manifest()).name == ""
    # The parameter is that of the newest version; an older one may have another variant.
    assert served({"lanner_variant": "int8"}).variant(manifest(variants=[FP32])) == FP32


@pytest.mark.parametrize(
    "config",
    [
        {"parameters": []},
        {"parameters": {"a": "b"}},
        {"parameters": {"a": None}},
        {"max_batch_size": "many"},
        {"max_batch_size": float("inf")},
        {"instance_group": 3},
        {"instance_group": [{"count": None}]},
        {"instance_group": ["x"]},
    ],
    ids=str,
)
def test_a_description_that_triton_does_not_give(config: dict[str, Any]) -> None:
    with pytest.raises(ServerError, match=r"^the server describes the model m as Triton"):
        ServedModel.of("m", "1", config)


def test_what_unpacks_to_more_than_any_model_carries(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.modules[ServedModel.__module__], "_MOST_BYTES", 100_000)
    parameters = carried_files(Artifact.open(word_artifact), 1)
    bomb = base64.b64encode(zlib.compress(b" " * 10**8, 9)).decode()
    message = r"^the tokenizer.json that the model minilm on the server carries is damaged \(is cut"
    with (
        pytest.raises(ArtifactError, match=message),
        served(parameters | {"lanner_file.1.tokenizer.json": bomb}).artifact(),
    ):
        pass
    # Many small files add up to a large one.
    small = base64.b64encode(zlib.compress(b" " * 60_000, 9)).decode()
    many = {f"lanner_file.1.{name}.json": small for name in "ab"}
    with (
        pytest.raises(ArtifactError, match=r"^the b.json that the model .* or too large\)"),
        served(parameters | many).artifact(),
    ):
        pass


@pytest.mark.parametrize("name", ["../evil.json", "evil.py", "/etc/x.json", "a/b.json"])
def test_a_file_with_a_name_of_its_own_is_not_written(word_artifact: Path, name: str) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1)
    parameters[f"lanner_file.1.{name}"] = parameters["lanner_file.1.tokenizer.json"]
    with (
        pytest.raises(ArtifactError, match=re.escape(f"carries a file {name!r}: leave it")),
        served(parameters).artifact(),
    ):
        pass


FULL = """
import os, resource, sys
from lanner.artifact.artifact import Artifact
from lanner.errors import ServerError
from lanner.triton.contract.served_model import ServedModel, carried_files
parameters = carried_files(Artifact.open(sys.argv[1]), 1)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))  # as where every disk is full
try:
    with ServedModel("minilm", "1", parameters, max_batch_size=8).artifact(): pass
except ServerError as error:
    print(error)
"""


def test_without_any_temporary_directory_the_one_that_was_meant_is_named(
    word_artifact: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(word_artifact)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert done.stdout.startswith(
        f"what the model minilm carries cannot be written to {tmp_path} (No usable temporary"
    ), done


def test_a_temporary_directory_that_cannot_be_written(
    word_artifact: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parameters = carried_files(Artifact.open(word_artifact), 1)
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with (
        pytest.raises(ServerError, match=r"cannot be written to /nowhere \(No such file or direct"),
        served(parameters).artifact(),
    ):
        pass
