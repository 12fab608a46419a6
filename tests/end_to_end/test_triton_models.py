from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

from lanner_perf.tools.triton_models import committed_files, main

COMMITTED = Path(__file__).parents[2] / "triton_models"


def test_the_committed_repository_is_what_the_generator_writes(
    minilm_artifact: Artifact, tmp_path: Path
) -> None:
    written = committed_files(minilm_artifact.directory, tmp_path)
    committed = {
        str(path.relative_to(COMMITTED)): path.read_bytes()
        for path in COMMITTED.rglob("*")
        if path.is_file() and path.name != "README.md"
    }
    assert committed.keys() == written.keys()
    for name, content in written.items():
        assert committed[name] == content, (
            f"triton_models/{name} is out of date: run python -m lanner_perf.tools.triton_models "
            "build/minilm.lanner --output triton_models"
        )


def test_what_is_no_artifact_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "gone"), "--output", str(tmp_path)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path / 'gone'} is not a directory: pass one that 'lanner export' wrote\n"
    )
