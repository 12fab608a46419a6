"""After two hundred kills at random moments nothing is lost, doubled, halved or refused.

Each run continues from what the killed one left, and in the end the command succeeds as if it had
never been killed.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tests.support.killed_commands import Commands

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import file_sha256
from lanner.files.texts import shipped_sentences
from lanner.loading.tuned import stored_choice, tuning_file
from lanner.triton.lint.repository_model import version_directories
from lanner.vectors.origin import path_of

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import check

pytestmark = [pytest.mark.slow, pytest.mark.no_transformers]

ENCODES, EXPORTS, REPOSITORIES, TUNINGS = 70, 20, 80, 30


@pytest.fixture
def commands(tmp_path: Path) -> Commands:
    (tmp_path / "said").mkdir()
    return Commands(tmp_path / "said")


def kill(
    commands: Commands,
    *arguments: object,
    times: int,
    seed: int,
    look: Callable[[int], None],
) -> None:
    """Kill a command at random moments, until it was running at this many kills.

    Args:
        commands: The runner.
        arguments: The arguments of the command.
        times: The number of kills.
        seed: The seed of the moments.
        look: Called after each run, with the number of kills.
    """
    moments = np.random.default_rng(seed)
    commands.run(*arguments)  # the first run also imports
    look(0)
    takes_s = commands.run(*arguments)
    look(0)
    kills = 0
    while kills < times:
        # Beyond the end, because the end of a run is a moment too.
        kills += commands.killed(*arguments, after_s=moments.uniform(0, 1.1 * takes_s))
        look(kills)
    commands.run(*arguments)
    look(kills)


def hidden(directory: Path) -> list[str]:
    return [str(path) for path in directory.rglob(".*")]


def test_repositories(commands: Commands, word_artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    repository = place / "repository"
    before = dict.fromkeys(("words", "words_text"), 0)

    def look(kills: int) -> None:
        """Check that each run adds one version or none to each model, and that it can be served."""
        for name, count in before.items():
            model = repository / name
            found = version_directories(model) if model.exists() else []
            assert len(found) - count in (0, 1)
            before[name] = len(found)
            assert (model / "config.pbtxt").exists() == bool(found)
            for version in found:
                Artifact.open(version).verify()
        if any(before.values()):
            assert check(repository) == []
        if kills % 6 == 0:
            shutil.rmtree(repository, ignore_errors=True)
            before.update(dict.fromkeys(before, 0))

    command = ("repository", word_artifact, "--output", repository, "--variant", "fp32")
    kill(commands, *command, times=REPOSITORIES, seed=20, look=look)
    commands.run(*command)
    assert hidden(place) == []
    numbers = [[path.name for path in version_directories(repository / name)] for name in before]
    assert numbers[0][-1] == numbers[1][-1]


def test_exports(commands: Commands, tiny_checkpoint: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    output = place / "tiny.lanner"
    command = ("export", tiny_checkpoint, "--output", output, "--precision", "fp32")
    commands.run(*command)
    names = sorted(path.name for path in output.iterdir())

    def look(_: int) -> None:
        Artifact.open(output).verify()
        assert sorted(path.name for path in output.iterdir()) == names

    kill(commands, *command, "--overwrite", times=EXPORTS, seed=21, look=look)
    assert hidden(place) == []


def test_encoded_files(commands: Commands, word_artifact: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    place.mkdir()
    source, output = tmp_path / "rows.jsonl", place / "vectors.jsonl"
    sentences = shipped_sentences()
    rows = [{"id": n, "text": sentences[n % len(sentences)]} for n in range(3_000)]
    source.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    options = ["--id-column", "id", "--variant", "fp32", "--threads", 1]
    command = ("encode", word_artifact, "--input", source, *options, "--output")
    commands.run(*command, tmp_path / "whole.jsonl")
    whole = file_sha256(tmp_path / "whole.jsonl")

    def look(_: int) -> None:
        if output.exists() and not hidden(place):
            assert file_sha256(output) == whole
            output.unlink()
            path_of(output).unlink()

    kill(commands, *command, output, times=ENCODES, seed=22, look=look)
    assert list(place.iterdir()) == []  # the last one was checked and removed


def test_tunings(commands: Commands, word_artifact: Path) -> None:
    artifact = Artifact.open(word_artifact)
    command = ("tune", word_artifact, "--goal", "throughput", "--threads", 1)

    def look(_: int) -> None:
        assert stored_choice(artifact, threads=1) is not None
        content = json.loads(tuning_file(artifact).read_text(encoding="utf-8"))
        assert len(content["entries"]) == 1

    kill(commands, *command, times=TUNINGS, seed=23, look=look)
    assert [path.name for path in word_artifact.parent.iterdir() if path.name[0] == "."] == []
