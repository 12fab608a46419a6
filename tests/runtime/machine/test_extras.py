"""The extras: the distribution's metadata, and the extras that messages name."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from lanner.commands import doctor
from lanner.engines import ENGINES
from lanner.machine.extras import extras, has_package

_ROOT = Path(__file__).parents[3]
_NAMED = re.compile(r"lanner\[([a-z0-9,-]+)\]")


def declared() -> dict[str, list[str]]:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    return {
        extra: requirements
        for extra, requirements in project["optional-dependencies"].items()
        if extra not in ("dev", "docs")
    }


def requirements(monkeypatch: pytest.MonkeyPatch, *lines: str) -> dict[str, tuple[str, ...]]:
    monkeypatch.setattr("importlib.metadata.requires", lambda _: list(lines))
    extras.cache_clear()
    found = extras()
    extras.cache_clear()
    return found


def test_packages_are_those_of_the_metadata(monkeypatch: pytest.MonkeyPatch) -> None:
    found = requirements(
        monkeypatch,
        "numpy>=1.26",
        "tritonclient[grpc,http]>=2.60; extra == 'triton'",
        'onnxruntime-gpu>=1.25 ; extra == "gpu"',
        "ml_dtypes; extra == 'export'",
        "torch>=2.13; extra == 'export'",
        "ruff>=0.11; extra == 'dev'",
    )
    assert found == {
        "triton": ("tritonclient",),
        "gpu": ("onnxruntime-gpu",),
        "export": ("ml_dtypes", "torch"),
    }


def test_without_a_distribution_there_are_no_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.requires", requires)
    extras.cache_clear()
    assert extras() == {}
    assert doctor.missing_packages("export") == []
    extras.cache_clear()


def test_an_engine_may_come_with_another_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "has_package", lambda _: False)
    monkeypatch.setattr(doctor, "extras", lambda: {"onnxruntime": ("onnxruntime", "else")})
    assert doctor.missing_packages("onnxruntime") == ["else"]  # its module is there


def test_packages_that_are_installed() -> None:
    assert has_package("numpy")
    assert not has_package("no-such-package")


def test_an_engine_names_a_declared_extra_and_package() -> None:
    for engine in ENGINES:
        packages = " ".join(declared()[engine.extra])
        assert any(re.search(rf"\b{name}\b", packages) for name in engine.packages), engine.name


def messages() -> Iterator[tuple[Path, str]]:
    """Return the extras that the sources name, in strings and for missing packages."""
    for root in ("runtime", "export", "perf"):
        for path in sorted((_ROOT / root).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str):
                    for found in _NAMED.findall(node.value):
                        yield from ((path, extra) for extra in found.split(","))
                if isinstance(node, ast.Call) and ast.unparse(node.func) == "MissingExtraError":
                    extra = node.args[1]
                    if isinstance(extra, ast.Constant):
                        yield path, str(extra.value)


def test_a_message_names_an_extra_that_there_is() -> None:
    found = list(messages())
    assert {"export", "gpu", "parquet", "triton"} <= {extra for _, extra in found}
    unknown = [f"{path}: {extra}" for path, extra in found if extra not in declared()]
    assert unknown == []
