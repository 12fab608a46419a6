"""The reference: its generated pages are complete, and its other pages agree with the code."""

import argparse
import ast
import re
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from docs import hooks

import lanner
from lanner.commands import parser
from tests.docs.pages import ROOT, pages

REFERENCE = ROOT / "docs" / "reference"
SOURCES = [Path(lanner.__file__).parent, ROOT / "export" / "lanner_export"]


def text(name: str) -> str:
    return (REFERENCE / name).read_text(encoding="utf-8")


def rows(table: str) -> list[list[str]]:
    """Return the cells of a table's rows, without its head."""
    lines = (line.strip().removeprefix("|").removesuffix("|") for line in table.splitlines()[2:])
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)] for line in lines]


def test_every_option_of_every_command_is_in_the_reference() -> None:
    page = hooks.command_line()
    (commands,) = (
        action for action in parser()._actions if isinstance(action, argparse._SubParsersAction)
    )
    sections = dict(re.findall(r"^## lanner (\S+)\n(.*?)(?=^## |\Z)", page, flags=re.M | re.S))
    assert set(sections) == set(commands.choices)
    for name, command in commands.choices.items():
        for action in command._actions:
            for option in action.option_strings or [action.metavar or action.dest]:
                assert f"`{option}" in sections[name] or f", {option}" in sections[name]
    assert "%(" not in page
    assert "| `--output DIR` | the artifact to make |" in sections["export"]


def test_every_lint_rule_is_in_the_reference() -> None:
    named = [
        call.args[0].value
        for path in (Path(lanner.__file__).parent / "triton").rglob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "Rule"
        and isinstance(call.args[0], ast.Constant)
    ]
    shown = [re.sub(r"<[^>]*>|`", "", cells[0]) for cells in rows(hooks.lint_rules())]
    assert shown == sorted(map(str, named))
    assert "never-batches" in shown


def test_the_extras_are_those_of_the_distribution() -> None:
    shown = {cells[0]: cells[1] for cells in rows(hooks.extras())}
    assert shown["`lanner[parquet]`"].startswith("`pyarrow")
    assert "`lanner[onnxruntime]`" in shown


def test_pages_ask_only_for_what_there_is() -> None:
    asked = {name for page in pages() for name in hooks._MARKER.findall(page.read_text())}
    assert asked == set(hooks.GENERATORS)
    with pytest.raises(KeyError, match="weather"):
        hooks.generated("<!-- generate: weather -->")


def test_links_out_of_the_site_become_text() -> None:
    given = "[a](docs/guide/gpu.md#b) [c](perf/results) [d](https://example.org) [e](SECURITY.md)"
    expected = "[a](guide/gpu.md#b) c [d](https://example.org) [e](security.md)"
    assert hooks.mirrored(given) == expected


def test_every_public_name_is_in_the_reference() -> None:
    shown = re.findall(r"^::: lanner\.(\w+)$", text("python.md"), flags=re.M)
    assert sorted(shown) == sorted({*lanner.__all__, "errors"} - {"__version__"})


def test_every_environment_variable_is_in_the_reference() -> None:
    reads = re.compile(r"environ(?:\.get|\.setdefault)?[\[(]\"([A-Z0-9_]+)\"")
    names = re.compile(r"^_?[A-Z_]*VARIABLE = \"([A-Z0-9_]+)\"", re.MULTILINE)
    code = [path.read_text(encoding="utf-8") for root in SOURCES for path in root.rglob("*.py")]
    used = {name for module in code for found in (reads, names) for name in found.findall(module)}
    shown = set(re.findall(r"^\| `([A-Z0-9_]+)`", text("configuration.md"), flags=re.M))
    assert used >= {"LANNER_TRITONSERVER", "ORT_DISABLE_TELEMETRY", "CUDA_VISIBLE_DEVICES"}
    assert shown - {"HF_HUB_OFFLINE"} == used  # a library reads that file


def records() -> Iterator[tuple[str, Any]]:
    """Yield the dataclasses of a manifest, each with the heading of its table."""
    manifest = get_type_hints(lanner.Artifact)["manifest"]
    of_variant = get_type_hints(get_args(get_type_hints(manifest)["variants"])[0])
    build = next(kind for kind in get_args(of_variant["build"]) if is_dataclass(kind))
    yield "### Members", manifest
    yield "### `architecture`", get_type_hints(manifest)["architecture"]
    yield "### `tokenizer`", get_type_hints(manifest)["tokenizer"]
    yield "### `variants`", get_args(get_type_hints(manifest)["variants"])[0]
    yield "### `build`", build
    yield "### `late_interaction`", get_args(get_type_hints(manifest)["late_interaction"])[0]
    yield "### `embedding_ranges`", get_args(get_type_hints(manifest)["embedding_ranges"])[0]


@pytest.mark.parametrize(("heading", "record"), list(records()), ids=str)
def test_the_format_lists_the_members_of_a_manifest(heading: str, record: Any) -> None:
    section = text("artifact.md").partition(f"{heading}\n")[2].partition("\n#")[0].strip()
    shown = rows(section)
    members = {cells[0].strip("`"): cells for cells in shown}
    frame = {"format", "format_version", "sha256"} if heading == "### Members" else set()
    assert set(members) - frame == {field.name for field in fields(record)}
    has_defaults = "| default |" in section.splitlines()[0]
    for field in fields(record):
        is_optional = (field.default, field.default_factory) != (MISSING, MISSING)
        said = members[field.name][2] if has_defaults else ""
        assert bool(said) == is_optional, field.name


def test_the_paths_that_contributors_are_sent_to_are_there() -> None:
    page = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    roots = "|".join(
        ("export", "runtime", "perf", "docs", "tests", "requirements", "triton_models")
    )
    paths = set(re.findall(rf"(?<![\w./-])(?:{roots})/[\w./-]*[\w/]", page))
    assert "runtime/lanner/triton/lint/" in paths
    assert [path for path in sorted(paths) if not (ROOT / path).exists()] == []
