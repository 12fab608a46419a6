"""Writers of a repository that are killed at any step, or that write at the same time."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tritonclient", reason="needs the triton extra")

from tests.support.triton_repository import check

from lanner.errors import RepositoryError
from lanner.triton.repository.write import write_repository
from lanner.triton.repository.writing import put_in_place, writing


class Killed(BaseException):
    """Stands for a kill, because nothing catches it or cleans up after it."""


class Steps:
    """Counts the operations on files; the step with the given number, from 1, is not done."""

    def __init__(self, patch: pytest.MonkeyPatch, last: int) -> None:
        self.count, self.last = 0, last
        for module, name in (
            (Path, "mkdir"),
            (Path, "rename"),
            (Path, "replace"),
            (Path, "write_bytes"),
            (shutil, "copyfile"),
            (os, "fsync"),
        ):
            self._count(patch, module, name)
        for module, name in ((shutil, "rmtree"), (Path, "unlink"), (Path, "rmdir")):
            real = getattr(module, name)

            def clean(*args: Any, _real: Any = real, **options: Any) -> None:
                if self.count < self.last:
                    _real(*args, **options)

            patch.setattr(module, name, clean)

    def _count(self, patch: pytest.MonkeyPatch, module: object, name: str) -> None:
        real = getattr(module, name)

        def step(*args: Any, **options: Any) -> Any:
            self.count += 1
            if self.count >= self.last:
                raise Killed
            return real(*args, **options)

        patch.setattr(module, name, step)


def files(repository: Path) -> list[str]:
    return sorted(str(path.relative_to(repository)) for path in repository.rglob("*"))


@pytest.mark.parametrize("is_new", [True, False], ids=["new", "a new version"])
def test_killed_at_any_step_the_same_command_goes_on(
    word_artifact: Path, tmp_path: Path, is_new: bool
) -> None:
    whole, repository = tmp_path / "whole", tmp_path / "repository"

    def write(path: Path) -> list[int]:
        return [one.version for one in write_repository([word_artifact], path, variant="fp32")]

    write(whole)
    if not is_new:
        write(whole)
        write(tmp_path / "counted")
    with pytest.MonkeyPatch.context() as patch:
        steps = Steps(patch, 10**6)
        write(tmp_path / "counted")
        total = steps.count
    assert total > 15
    for last in range(1, total + 1):
        shutil.rmtree(repository, ignore_errors=True)
        if not is_new:
            write(repository)
        with pytest.MonkeyPatch.context() as patch:
            Steps(patch, last)
            with pytest.raises(Killed):
                write(repository)
        if repository.is_dir():  # the repository can be served at every step
            for model in repository.glob("[!.]*"):
                assert (model / "config.pbtxt").is_file(), last
                assert list(model.glob("[0-9]*")), last
        versions = write(repository)
        assert versions[0] == versions[1]
        assert versions[0] <= (2 if is_new else 3), last
        assert check(repository) == [], last
        assert not [name for name in files(repository) if "/." in f"/{name}"], last
        if versions[0] == (1 if is_new else 2):
            assert files(repository) == files(whole), last


def test_what_killed_writers_of_earlier_releases_left(word_artifact: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    for name in (".words.abcdefgh", "words/.1.ab0_efgh", "words/warmup", "words_text"):
        (repository / name).mkdir(parents=True)
    (repository / "words" / "warmup" / ".ones.4.abcdefgh").touch()
    write_repository([word_artifact], repository, variant="fp32")
    assert check(repository) == []
    assert not any("/." in f"/{name}" for name in files(repository))


def test_what_is_somebody_elses_stays(word_artifact: Path, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    (repository / "words" / "1").mkdir(parents=True)
    (repository / ".git").mkdir()
    with pytest.raises(RepositoryError, match=r"holds 'words', which has no config.pbtxt; choose"):
        write_repository([word_artifact], repository, variant="fp32")
    shutil.rmtree(repository / "words")
    write_repository([word_artifact], repository, variant="fp32")
    assert (repository / ".git").is_dir()


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\nfrom lanner.triton.repository.writing import writing\n"
        "with writing(pathlib.Path(sys.argv[1]), []): print(flush=True); sys.stdin.read()"
    )
    repository = tmp_path / "repository"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(repository)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        other.stdout.readline()
        message = rf"^another process writes into {repository}: wait for it, and try again$"
        with pytest.raises(RepositoryError, match=message), writing(repository, []):
            pass
        other.kill()
    with writing(repository, []) as work:
        (work / "m").mkdir()
        put_in_place(work / "m", repository / "m")
    assert files(repository) == ["m"]


def test_temporary_files_are_outside_if_they_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that starts meanwhile would take any directory inside for a model."""
    repository = tmp_path / "repository"
    with writing(repository, []) as work:
        assert work.parent == tmp_path
        (work / "m").mkdir()
        put_in_place(work / "m", repository / "m")
    monkeypatch.setattr(os, "access", lambda path, _: path != tmp_path)
    (repository / "m" / "config.pbtxt").touch()
    with writing(repository, []) as work:
        assert work.parent == repository
    assert sorted(files(tmp_path)) == ["repository", "repository/m", "repository/m/config.pbtxt"]


def test_a_writer_that_fails_leaves_no_directory(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no"), writing(tmp_path / "a" / "b", []):
        raise ValueError("no")
    assert list(tmp_path.iterdir()) == []
