"""The examples of the documentation, run unchanged.

The Python of a page runs from top to bottom in one namespace, and so do the commands of a tutorial
between it, in a directory with the artifacts that the pages name. Other commands are only parsed.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from lanner import Artifact
from lanner.commands import main, parser
from tests.docs.pages import ROOT, Block, blocks, commands, name_of, pages

WITH_PYTHON = [page for page in pages() if blocks(page, "python")]
TUTORIALS = [page for page in WITH_PYTHON if page.parent.name == "tutorials"]
#: The commands of a tutorial that its test does not run: they are done already, take a minute or
#: never return. They are only parsed.
LEFT_OUT = (
    "pip ",
    "checkpoint=",
    "export LANNER_TRITONSERVER=",
    "lanner export ",
    "lanner serve ",
    "lanner tune ",
)


@pytest.fixture
def directory(
    minilm_artifact: Artifact,
    scorer_artifact: Artifact,
    classifier_artifact: Artifact,
    tagger_artifact: Artifact,
    splade_artifact: Artifact,
    colbert_artifact: Artifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Path:
    """Return a working directory with the artifacts that the pages name."""
    artifacts = {
        "minilm": minilm_artifact,
        "ranker": scorer_artifact,
        "intents": classifier_artifact,
        "tagger": tagger_artifact,
        "splade": splade_artifact,
        "colbert": colbert_artifact,
    }
    for name, artifact in artifacts.items():
        (tmp_path / f"{name}.lanner").symlink_to(artifact.directory)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def server(
    tritonserver: object, minilm_artifact: Artifact, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Yield the addresses of a server of the artifact minilm, started as the pages start one."""
    repository = tmp_path_factory.mktemp("served") / "repository"
    assert main(["repository", str(minilm_artifact.directory), "--output", str(repository)]) == 0
    program = str(Path(sys.executable).with_name("lanner"))
    ports = [word for name in ("http", "grpc", "metrics") for word in (f"--{name}-port", "0")]
    command = [program, "serve", str(repository), *ports, "--no-api", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield json.loads(process.stdout.readline())
        finally:
            process.terminate()


def served(text: str, server: dict[str, str]) -> str:
    """Return the text with the addresses of the test's server in place of the default ones."""
    for port, url in (("8000", server["http_url"]), ("8001", server["grpc_url"])):
        text = text.replace(f"localhost:{port}", url.partition("://")[2])
    return text


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_the_examples_run(
    page: Path, directory: Path, request: pytest.FixtureRequest, capfd: pytest.CaptureFixture[str]
) -> None:
    found = blocks(page, "python", "sh") if page in TUTORIALS else blocks(page, "python")
    needs_server = any("localhost:800" in block.code for block in found)
    server = request.getfixturevalue("server") if needs_server else None
    namespace: dict[str, Any] = {"__name__": "example"}
    for block in found:
        code = served(block.code, server) if server else block.code
        if block.language == "sh":
            run_commands(block, code, directory)
            continue
        # The line numbers of a traceback are those of the page.
        compiled = compile("\n" * (block.line - 1) + code, block.place, "exec")
        if block.is_run:
            exec(compiled, namespace)  # noqa: S102 (our own pages)
    capfd.readouterr()


def run_commands(block: Block, code: str, directory: Path) -> None:
    lines = code.splitlines(keepends=True)
    script = "".join(line for line in lines if not line.startswith(LEFT_OUT))
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=directory,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{block.place}: {done.stderr}"


@pytest.mark.parametrize("page", pages(), ids=name_of)
def test_the_commands_are_understood(page: Path) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), flags=re.M))
    for block in blocks(page, "sh"):
        for line in commands(block):
            if line.partition(" ")[0] not in ("lanner", "make", "pip", "python"):
                continue
            words = shlex.split(line.partition(" | ")[0])
            if words[0] == "lanner":
                understand(block, words[1:])
            elif words[0] == "make":
                asked = {word for word in words[1:] if "=" not in word and word[0] != "-"}
                assert asked <= targets, f"{block.place}: {line}"
            elif words[:2] == ["python", "-m"]:
                assert find_spec(words[2]), f"{block.place}: {line}"
            elif words[:2] == ["pip", "install"]:
                extras = re.findall(r"lanner\[([a-z0-9,-]+)\]", line)
                named = {name for extra in extras for name in extra.split(",")}
                assert named <= set(project["optional-dependencies"]), f"{block.place}: {line}"


def understand(block: Block, words: list[str]) -> None:
    try:
        parser().parse_args(words)
    except SystemExit as error:
        assert error.code == 0, f"{block.place}: lanner {shlex.join(words)}"  # noqa: PT017
