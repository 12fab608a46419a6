"""Helm, the programs beside it, and renderings of the chart."""

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from lanner.service.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "helm" / "lanner"
RENDERINGS = ROOT / "tests" / "deploy" / "renderings"
INSTALLED = ROOT / "build" / "deploy"
#: The values that the renderings are of.
CASES = sorted(path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir())

Object = dict[str, Any]


def program(*places: str) -> str:
    """Return the path of a program below `build/deploy` or on the path, or skip the test."""
    for place in places:
        found = INSTALLED / place
        if found.is_file():
            return str(found)
    name = Path(places[0]).name
    if name == "helm" and (path := shutil.which(name)):
        return path
    pytest.skip(f"needs {name}: run 'make deploy-check'")


def template(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Render the chart as the release `lanner` of the namespace `search`."""
    command = [program("helm/helm"), "template", "lanner", str(CHART), "--namespace", "search"]
    return subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)


def rendered(case: str) -> str:
    """Return the rendering of a file of values."""
    done = template("--values", str(CHART / "ci" / f"{case}-values.yaml"))
    assert done.returncode == 0, done.stderr
    return done.stdout


def objects(case: str) -> dict[str, Object]:
    """Return the objects of a recorded rendering, by their kind, or kind and name."""
    text = (RENDERINGS / f"{case}.yaml").read_text(encoding="utf-8")
    found = [one for one in yaml.safe_load_all(text) if one is not None]
    return {one["kind"]: one for one in found} | {
        f"{one['kind']} {one['metadata']['name']}": one for one in found
    }


def settings(case: str, directory: Path) -> Settings:
    """Return the settings of a recorded rendering, as the service reads them."""
    file = directory / f"{case}.toml"
    file.write_text(objects(case)["ConfigMap lanner"]["data"]["service.toml"])
    assert tomllib.loads(file.read_text())
    return Settings.read(file=file, environment={})
