"""The ways of a Router: which route a task takes, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("sentence_transformers", reason="needs the export extra")

from tests.support.checkpoints import bert_checkpoint
from tests.support.routed import routed_checkpoint

from lanner.errors import CheckpointError, InputError, UnsupportedError, UsageError
from lanner_export.checkpoint.routes import read_ways
from lanner_export.loading import load_checkpoint

ROUTER = "sentence_transformers.base.modules.router.Router"
DENSE = "sentence_transformers.base.modules.dense.Dense"


def written(directory: Path, routes: list[str], **parameters: Any) -> Path:
    """Write a Router behind a transformer, whose routes are a Dense module each; no weights."""
    place = directory / "1_Router"
    place.mkdir(parents=True)
    modules = [
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Router", "type": ROUTER},
    ]
    (directory / "modules.json").write_text(json.dumps(modules))
    content = {
        "types": {f"{route}_0_Dense": DENSE for route in routes},
        "structure": {route: [f"{route}_0_Dense"] for route in routes},
        "parameters": parameters,
    }
    (place / "router_config.json").write_text(json.dumps(content))
    return directory


@pytest.mark.parametrize(
    ("routes", "parameters", "expected"),
    [
        (["query", "document"], {"default_route": "document"}, ("query", "document", "document")),
        (["query", "doc"], {}, ("query", "doc", "query")),
        (["passage", "query"], {"default_route": None}, ("query", "passage", "document")),
        (
            ["short", "long"],
            {
                "route_mappings": {"('query', 'text')": "short", "('document', None)": "long"},
                "default_route": "long",
            },
            ("short", "long", "document"),
        ),
    ],
    ids=["query and document", "Asym", "a passage first", "mappings"],
)
def test_routes_of_tasks(
    tmp_path: Path,
    routes: list[str],
    parameters: dict[str, Any],
    expected: tuple[str, str, str],
) -> None:
    ways = read_ways(written(tmp_path / "routed", routes, **parameters))
    assert ways is not None
    query, document, default = expected
    names = {task: [place.name for _, place in modules] for task, modules in ways.modules.items()}
    assert names == {
        "query": ["routed", f"{query}_0_Dense"],
        "document": ["routed", f"{document}_0_Dense"],
    }
    assert ways.default == default
    assert not ways.warnings


def test_one_route_for_all_texts(tmp_path: Path) -> None:
    ways = read_ways(written(tmp_path / "routed", ["text", "image"]))
    assert ways is not None
    assert [*ways.modules] == [None]
    assert ways.warnings == [
        f"no text takes the route image of {tmp_path / 'routed' / '1_Router'}: it is left out"
    ]


def test_no_default_route(tmp_path: Path) -> None:
    ways = read_ways(written(tmp_path / "routed", ["query", "document"], allow_empty_key=False))
    assert ways is not None
    assert ways.default == "document"
    place = tmp_path / "routed" / "1_Router"
    assert ways.warnings == [
        f"{place} names no default route, so texts without a task are documents"
    ]


@pytest.mark.parametrize(
    ("routes", "parameters", "message"),
    [
        (
            ["query", "image"],
            {},
            (
                r"has the routes query, image, and none for the task 'document': Lanner exports "
                r"Routers of queries and documents, so name the routes query and document$"
            ),
        ),
        (
            ["query", "document", "other"],
            {"default_route": "other"},
            (
                r"sends texts without a task to the route 'other', which is neither that of "
                r"queries nor that of documents: make one of these its default_route$"
            ),
        ),
    ],
    ids=["no documents", "another default"],
)
def test_other_routers_are_refused(
    tmp_path: Path, routes: list[str], parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(UnsupportedError, match=message):
        read_ways(written(tmp_path / "routed", routes, **parameters))


def test_broken_routers_are_refused(tmp_path: Path) -> None:
    broken = written(tmp_path / "broken", ["query"], route_mappings={"query": "query"})
    message = r"1_Router has route_mappings that are not pairs of task and kind: "
    with pytest.raises(CheckpointError, match=message):
        read_ways(broken)
    twice = written(tmp_path / "twice", ["query", "document"])
    listed = json.loads((twice / "modules.json").read_text())
    (twice / "modules.json").write_text(json.dumps([*listed, listed[1]]))
    message = r"modules\.json lists 2 Routers, and Lanner exports checkpoints with one$"
    with pytest.raises(UnsupportedError, match=message):
        read_ways(twice)


def test_a_checkpoint_without_a_router(tmp_path: Path) -> None:
    assert read_ways(bert_checkpoint(tmp_path / "tiny")) is None


def test_ways_of_different_widths(tmp_path: Path) -> None:
    checkpoint = routed_checkpoint(tmp_path / "wide", document_width=16)
    (tmp_path / "scratch").mkdir()
    message = (
        r"^the ways of .*wide have another dimension, 16 of document and 12 of query, so that "
        r"their vectors cannot be compared: export each as a checkpoint of its own$"
    )
    with pytest.raises(UnsupportedError, match=message):
        load_checkpoint(str(checkpoint), scratch=tmp_path / "scratch")
    message = r"has a Router, and Lanner exports those of sentence vectors: leave --head tokens out"
    with pytest.raises(UnsupportedError, match=message):
        load_checkpoint(str(checkpoint), head="tokens")
    with pytest.raises(InputError, match=r"wide has several ways: pass scratch, a directory"):
        load_checkpoint(str(checkpoint))


def test_a_router_has_no_adapters(tmp_path: Path) -> None:
    path = written(tmp_path / "routed", ["query", "document"])
    with pytest.raises(UsageError, match=r"routed is a Router, whose adapters have no names: leav"):
        load_checkpoint(str(path), adapters={None: "a"}, scratch=tmp_path)
    vectors = tmp_path / "words.vec"
    vectors.write_text("1 2\na 1 2\n")
    with pytest.raises(UsageError, match=r"words.vec is a file, whose adapters have no names: lea"):
        load_checkpoint(str(vectors), adapters={None: "a"}, scratch=tmp_path)
