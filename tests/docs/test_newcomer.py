"""The commands of the first page, as printed, for a user who has the wheels and no clone.

The Chinese page has the same commands (`test_readme`). The export is left out, because other tests
run it; a real artifact stands in its place.
"""

import json
import os
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from lanner.artifact.artifact import Artifact
from tests.docs.pages import READMES, ROOT, blocks
from tests.docs.test_examples import served

pytestmark = pytest.mark.slow
#: Commands for a clone, for a package index, the export, and one that never returns.
LEFT_OUT = ("make ", "pip ", "export LANNER_", "lanner serve ", "checkpoint=", "lanner export ")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the programs of an environment with the wheels, and this one's dependencies."""
    pytest.importorskip("hatchling", reason="builds the wheels")
    directory = tmp_path_factory.mktemp("newcomer")
    for source in (ROOT, ROOT / "perf"):
        build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(directory)]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
    wheels = sorted(map(str, directory.glob("*.whl")))
    assert len(wheels) == 2
    venv.create(directory / "venv", with_pip=False)
    (packages,) = (directory / "venv" / "lib").glob("python*/site-packages")
    # Python searches a directory that a .pth file names, but ignores the .pth files in it, such as
    # editable installs.
    shared = [path for path in sys.path if path.endswith("site-packages")]
    (packages / "shared.pth").write_text("\n".join(shared))
    programs = directory / "venv" / "bin"
    install = ["install", "--no-deps", "--no-index", "--ignore-installed", *wheels]
    subprocess.run(
        [sys.executable, "-m", "pip", "--python", str(programs / "python"), *install],
        check=True,
        capture_output=True,
    )
    return programs


@pytest.fixture
def directory(minilm_artifact: Artifact, tmp_path: Path) -> Path:
    (tmp_path / "minilm.lanner").symlink_to(minilm_artifact.directory)
    return tmp_path


def run(program: list[str], directory: Path, programs: Path) -> str:
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | {"PATH": path}
    done = subprocess.run(
        program, cwd=directory, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def server(tritonserver: object, directory: Path, programs: Path) -> Iterator[dict[str, str]]:
    ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    command = [str(programs / "lanner"), "serve", "repository", *ports, "--json"]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def test_every_command_as_printed(
    directory: Path, programs: Path, request: pytest.FixtureRequest
) -> None:
    origin = run(["python", "-c", "import lanner; print(lanner.__file__)"], directory, programs)
    assert origin.startswith(str(programs.parent))
    ran = 0
    for block in blocks(READMES[0], "sh", "python"):
        code = block.code
        if block.language == "sh":
            lines = [line for line in code.splitlines() if not line.startswith(LEFT_OUT)]
            ran += len(lines)
            run(["bash", "-euo", "pipefail", "-c", "\n".join(lines)], directory, programs)
            continue
        if "localhost:" in code:
            code = served(code, request.getfixturevalue("server"))
        run(["python", "-c", code], directory, programs)
    assert ran >= 2
    assert "bench" in run(["lanner", "bench", "--help"], directory, programs)
