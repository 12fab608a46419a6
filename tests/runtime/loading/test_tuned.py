import json
import logging
import multiprocessing
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.word_artifact import write_manifest, write_word_artifact

from lanner import __version__
from lanner.artifact.artifact import Artifact
from lanner.errors import InputError, VariantError
from lanner.loading import tuned as tuning
from lanner.loading.configuration import Configuration
from lanner.loading.load import load
from lanner.loading.tuned import Choice, machine_key, store_choice, stored_choice, tuning_file
from lanner.machine import machine
from lanner.machine.machine import this_machine

FP32 = Configuration("onnxruntime", "fp32", workers=1, token_budget=64)
CHOICE = Choice(FP32, "throughput", 1234.5, 1.25, "cosine:0.99", "2026-11-22T10:00:00Z")


@pytest.fixture
def artifact(word_artifact: Path) -> Artifact:
    return Artifact.open(word_artifact)


def edit(artifact: Artifact, **changes: Any) -> None:
    """Change the first entry of the file."""
    path = tuning_file(artifact)
    content = json.loads(path.read_text())
    for key, value in changes.items():
        place, _, name = key.rpartition("__")
        part = content["entries"][0]
        for step in place.split("__"):
            part = part[step]
        part[name] = value
    path.write_text(json.dumps(content))


def test_it_lies_beside_the_artifact(
    artifact: Artifact, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(artifact.directory.iterdir())
    path = store_choice(artifact, CHOICE, threads=2)
    assert path == tmp_path / "words.lanner.tuning.json"
    assert sorted(artifact.directory.iterdir()) == files
    assert [entry.name for entry in sorted(tmp_path.iterdir())] == ["words.lanner", path.name]
    monkeypatch.chdir(artifact.directory)
    assert stored_choice(Artifact.open("."), threads=2) == CHOICE


def test_load_takes_it(artifact: Artifact) -> None:
    store_choice(artifact, CHOICE, threads=2)
    model = load(artifact.directory, threads=2)
    assert repr(model) == (
        "EmbeddingModel('words', variant='fp32', engine='onnxruntime', workers=1)"
    )
    assert model.runner.token_budget == 64
    assert model.encode("a b").tolist() == [0.5, 0.5, 0, 0]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ({"engine": "onnxruntime", "variant": "fp32"}, ("fp32", 1, 64)),
        ({"workers": 2}, ("fp32", 2, 64)),
        ({"token_budget": 7}, ("fp32", 1, 7)),
        # For another variant, nothing of the choice holds.
        ({"variant": "int8"}, ("int8", 2, 512)),
        ({"variant": "int8", "token_budget": 7}, ("int8", 2, 7)),
    ],
)
def test_what_load_is_given_wins(
    artifact: Artifact, arguments: dict[str, Any], expected: tuple[str, int, int]
) -> None:
    store_choice(artifact, CHOICE, threads=2)
    model = load(artifact.directory, threads=2, **arguments)
    assert (model.variant.name, model.runner.workers, model.runner.token_budget) == expected


def test_what_cannot_be_is_refused_as_ever(artifact: Artifact) -> None:
    store_choice(artifact, CHOICE, threads=2)
    with pytest.raises(VariantError, match=r"there is no engine 'abacus'"):
        load(artifact.directory, engine="abacus", threads=2)
    with pytest.raises(InputError, match=r"workers must be at most threads, not 3 for 2 threads"):
        load(artifact.directory, threads=2, workers=3)


def test_another_machine_number_of_threads_or_version_has_its_own(
    artifact: Artifact, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store_choice(artifact, CHOICE, threads=2)
    alone = replace(CHOICE, configuration=replace(FP32, token_budget=32))
    assert stored_choice(artifact, threads=1) is None
    store_choice(artifact, alone, threads=1)
    falcon = replace(this_machine(), cpu="Falcon 1")
    # The same name, as under an emulator or a hypervisor, but other instructions.
    emulated = replace(this_machine(), cpu_flags=())
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tuning, "this_machine", lambda: emulated)
        assert emulated != this_machine()
        assert stored_choice(artifact, threads=2) is None
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(tuning, "this_machine", lambda: falcon)
        assert stored_choice(artifact, threads=2) is None
        store_choice(artifact, replace(CHOICE, goal="latency"), threads=2)
    with monkeypatch.context() as later:
        later.setattr(tuning, "package_versions", lambda *_: {"onnxruntime": "9.9"})
        assert stored_choice(artifact, threads=2) is None
    assert stored_choice(artifact, threads=2) == CHOICE
    assert stored_choice(artifact, threads=1) == alone
    assert caplog.records == []


def test_tuning_again_replaces(artifact: Artifact) -> None:
    store_choice(artifact, CHOICE, threads=2)
    again = replace(CHOICE, goal="latency", speedup=1.0)
    path = store_choice(artifact, again, threads=2)
    assert stored_choice(artifact, threads=2) == again
    assert len(json.loads(path.read_text())["entries"]) == 1


def test_an_artifact_that_was_exported_again_is_another(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    path = store_choice(artifact, CHOICE, threads=2)
    write_manifest(artifact.directory, created="2027-01-01T00:00:00Z")
    renewed = Artifact.open(artifact.directory)
    assert stored_choice(renewed, threads=2) is None
    assert caplog.records == []
    store_choice(renewed, CHOICE, threads=1)
    assert len(json.loads(path.read_text())["entries"]) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Expecting value"),
        (b'{"format": "lanner-tu', "Unterminated string"),
        (b"\xff\xfe\x00", "codec can't decode"),
        (b"[1, 2]", "list indices"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"format": "prettier", "format_version": 1}', "its format is 'prettier'"),
        (b'{"format": "lanner-tuning", "format_version": 1}', "artifact"),
    ],
    ids=["empty", "cut", "binary", "list", "deep", "foreign", "without fields"],
)
def test_a_damaged_file_is_named_and_ignored(
    artifact: Artifact, content: bytes, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    tuning_file(artifact).write_bytes(content)
    model = load(artifact.directory, variant="fp32", threads=2)
    assert (model.runner.workers, model.runner.token_budget) == (2, 512)
    (record,) = caplog.records
    assert (record.name, record.levelno) == ("lanner", logging.WARNING)
    message = record.getMessage()
    assert message.startswith(f"{tuning_file(artifact)} is damaged and not used (")
    assert reason in message
    assert message.endswith("): run 'lanner tune' again")
    store_choice(artifact, CHOICE, threads=2)
    assert stored_choice(artifact, threads=2) == CHOICE


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"choice__configuration__engine": "abacus"}, "there is no engine 'abacus'"),
        ({"choice__configuration__engine": 3}, "engine is '3'"),
        ({"choice__configuration__variant": "../fp32"}, "there is no variant '../fp32'"),
        ({"choice__configuration__workers": 3}, "workers are 3"),
        ({"choice__configuration__workers": True}, "workers is 'True'"),
        ({"choice__configuration__token_budget": 0}, "token_budget is 0"),
        ({"choice__configuration__token_budget": 1.5}, "token_budget is '1.5'"),
        ({"choice__configuration__token_budget": 2**21}, "token_budget is 2097152"),
        ({"choice__configuration__token_budget": 10**30}, f"token_budget is '{10**30}'"),
        ({"choice__configuration": None}, "must be a mapping"),
        ({"choice__more": 1}, "unexpected keyword argument 'more'"),
        ({"choice__value": "fast"}, "value is 'fast'"),
    ],
)
def test_a_changed_choice_is_never_taken(
    artifact: Artifact, changes: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    store_choice(artifact, CHOICE, threads=2)
    edit(artifact, **changes)
    assert stored_choice(artifact, threads=2) is None
    assert reason in caplog.text
    assert load(artifact.directory, threads=2).runner.token_budget == 512


def test_what_depends_on_its_batch_is_never_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    artifact = Artifact.open(write_word_artifact(tmp_path / "moody", batch_independence=0.99))
    store_choice(artifact, CHOICE, threads=2)
    assert stored_choice(artifact, threads=2) is None
    assert "the answers of fp32 depend on the batch" in caplog.text


def test_a_newer_lanner_s_file_is_left_alone(
    artifact: Artifact, caplog: pytest.LogCaptureFixture
) -> None:
    path = tuning_file(artifact)
    path.write_text('{"format": "lanner-tuning", "format_version": 2}')
    assert stored_choice(artifact, threads=2) is None
    assert caplog.records == []
    with pytest.raises(InputError, match=r"tuning.json was written by a newer Lanner: upgrade thi"):
        store_choice(artifact, CHOICE, threads=2)
    assert path.read_text() == '{"format": "lanner-tuning", "format_version": 2}'


def test_a_place_that_cannot_be_written_is_named(artifact: Artifact) -> None:
    path = tuning_file(artifact)
    path.mkdir()
    with pytest.raises(
        InputError,
        match=rf"^the choice was not stored, because {path} cannot be written \(Is a "
        r"directory\): make its directory writable and tune again, or pass the arguments of the c",
    ):
        store_choice(artifact, CHOICE, threads=2)
    assert stored_choice(artifact, threads=2) is None


def store(directory: str, threads: int) -> None:
    artifact = Artifact.open(directory)
    choice = replace(CHOICE, configuration=replace(FP32, token_budget=threads))
    store_choice(artifact, choice, threads=threads)


def test_processes_that_tune_at_once_lose_nothing(artifact: Artifact) -> None:
    arguments = [(str(artifact.directory), threads) for threads in range(1, 13)]
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        pool.starmap(store, arguments, chunksize=1)
    for threads in range(1, 13):
        choice = stored_choice(artifact, threads=threads)
        assert choice is not None
        assert choice.configuration.token_budget == threads


def test_a_copy_without_the_file_has_no_choice(artifact: Artifact, tmp_path: Path) -> None:
    store_choice(artifact, CHOICE, threads=2)
    shutil.copytree(artifact.directory, tmp_path / "copy.lanner")
    assert stored_choice(Artifact.open(tmp_path / "copy.lanner"), threads=2) is None


def test_the_key_names_what_a_choice_depends_on() -> None:
    key = machine_key(2)
    assert key["cpu"] == this_machine().cpu
    assert key["threads"] == 2
    assert {"lanner", "onnxruntime"} <= set(key["versions"])


@pytest.mark.parametrize("package", ["onnxruntime-gpu", "tensorrt-cu12", "tensorrt-cu13"])
def test_the_key_names_the_packages_of_a_gpu(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "package_version", lambda name: "9.9" if name == package else None)
    assert machine_key(2)["versions"] == {"lanner": __version__, package: "9.9"}


def test_in_words() -> None:
    assert str(CHOICE) == (
        "fp32 in onnxruntime, 1 worker, 64 tokens a batch (for throughput, cosine:0.99: "
        "1,234 texts/s, 1.25x of the default; 2026-11-22)"
    )
