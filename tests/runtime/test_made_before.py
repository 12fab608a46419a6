"""Names, artifacts and repositories of Lanner 0.1.0, which work as before."""

import argparse
import inspect
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import lanner
from lanner.artifact.artifact import Artifact
from lanner.commands import main, parser
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer

MADE = Path(__file__).parents[1] / "data" / "made-by-0.1.0"
PUBLIC = json.loads((MADE / "public.json").read_text(encoding="utf-8"))
#: Removed on purpose; the changelog says so.
REMOVED_ARGUMENTS = {"connect": {"shared_memory"}}
REMOVED_OPTIONS = {"export": {"--calibration-method"}}
#: Positional arguments with another name, which users do not type: `lanner serve` also takes
#: artifacts.
RENAMED_POSITIONALS = {"serve": {"repository": "targets"}}
#: The vectors of "a" and "a b": the mean of the unit vectors of their words.
TEXTS, VECTORS = ["a", "a b"], [[1, 0, 0, 0], [0.5, 0.5, 0, 0]]


def test_every_public_name_is_there() -> None:
    names = {name for name in PUBLIC["names"] if "." not in name}
    assert names <= {*lanner.__all__, "__version__"}
    for name in names:
        assert hasattr(lanner, name)


@pytest.mark.parametrize("name", [name for name, known in PUBLIC["names"].items() if known])
def test_a_public_function_takes_the_arguments_that_it_took(name: str) -> None:
    function: Any = lanner
    for part in name.split("."):
        function = getattr(function, part)
    parameters = inspect.signature(function).parameters
    if any(one.kind is one.VAR_KEYWORD for one in parameters.values()):
        return
    missing = set(PUBLIC["names"][name]) - REMOVED_ARGUMENTS.get(name, set()) - set(parameters)
    # Functions that accepted any options now name them.
    assert missing <= {"options"}, f"{name} no longer takes {missing}"


@pytest.mark.parametrize("name", PUBLIC["commands"])
def test_a_command_has_the_options_that_it_had(name: str) -> None:
    (commands,) = (
        action.choices
        for action in parser()._actions
        if isinstance(action, argparse._SubParsersAction)
    )
    if name not in commands:
        pytest.skip(f"lanner {name} comes with another distribution, which is not installed")
    found = {
        option
        for action in commands[name]._actions
        for option in (action.option_strings or [action.dest])
    }
    renamed = RENAMED_POSITIONALS.get(name, {})
    expected = {renamed.get(option, option) for option in PUBLIC["commands"][name]}
    assert expected - REMOVED_OPTIONS.get(name, set()) <= found


def test_an_artifact_is_loaded() -> None:
    artifact = Artifact.open(MADE / "words.lanner")
    artifact.verify()
    for variant in ("fp32", "int8"):
        model = lanner.load(artifact.directory, variant=variant)
        assert model.encode(TEXTS).tolist() == VECTORS


def test_a_repository_has_no_errors(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["repository", "--check", str(MADE / "repository"), "--json"])
    findings = json.loads(capsys.readouterr().out)["findings"]
    assert [one for one in findings if one["severity"] == "error"] == []
    assert status == 0


def test_a_repository_is_served(tritonserver: Installation, tmp_path: Path) -> None:
    pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")
    repository = Path(shutil.copytree(MADE / "repository", tmp_path / "repository"))
    with TritonServer(
        repository, http_port=0, grpc_port=0, metrics_port=0, installation=tritonserver
    ) as server:
        for url in (server.grpc_url, server.http_url):
            for name in ("words", "words_text"):
                assert lanner.connect(url, name).encode(TEXTS).tolist() == VECTORS
