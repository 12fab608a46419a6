"""The ways of a checkpoint whose Router (before version 5 Asym) parts queries from documents.

Each way becomes a checkpoint of its own: a directory of links to the modules that its texts go
through, before, in and behind the Router.
"""

import ast
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lanner.artifact.manifest import TASKS
from lanner.errors import CheckpointError, UnsupportedError
from lanner.models.prompts import TASK_NAMED
from lanner_export.checkpoint.modules import (
    MODULES_FILE,
    ROUTER_FILE,
    SEVERAL_WAYS,
    TRUSTED_PREFIX,
    class_name,
    is_sparse_encoder,
    is_token_encoder,
    module_entries,
    read_routes,
)

#: The name of a module's class, and its directory.
Module = tuple[str, Path]
_DOCUMENT = "document"


@dataclass(frozen=True)
class Ways:
    """The ways of a checkpoint.

    Attributes:
        directory: The checkpoint.
        modules: The modules of each task's texts, in order; one task, None, if all take one way.
        default: The task of the way that texts take without one.
        warnings: Sentences for the user.
    """

    directory: Path
    modules: Mapping[str | None, Sequence[Module]]
    default: str | None
    warnings: Sequence[str] = ()

    def write(self, task: str | None, room: Path) -> Path:
        """Make the checkpoint of one way, whose files are links.

        Args:
            task: The task.
            room: The new directory.
        """
        modules = self.modules[task]
        places = {place for _, place in modules}
        without = {MODULES_FILE, ROUTER_FILE}
        if self.directory not in places:  # but the Router's own is there
            without.add("config.json")
        files = [one for one in self.directory.iterdir() if one.name not in without]
        for place in places - {self.directory}:
            files += place.rglob("*")
        for path in files:
            if path.is_file():
                target = room / path.relative_to(self.directory)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(path.absolute())
        listed = [
            {
                "idx": number,
                "name": str(number),
                "path": "" if place == self.directory else str(place.relative_to(self.directory)),
                "type": kind,
            }
            for number, (kind, place) in enumerate(modules)
        ]
        (room / MODULES_FILE).write_text(json.dumps(listed), encoding="utf-8")
        return room


def read_ways(directory: Path) -> Ways | None:
    """Read the Router of a checkpoint of sentence vectors; None if there is none.

    Raises:
        CheckpointError: Its settings are broken.
        UnsupportedError: It is not a Router of queries and documents.
    """
    path = directory / MODULES_FILE
    if not path.is_file() or is_sparse_encoder(directory) or is_token_encoder(directory):
        return None
    entries = module_entries(path)
    numbers = [number for number, (kind, _) in enumerate(entries) if _is_router(kind)]
    if not numbers:
        return None
    if len(numbers) > 1:
        msg = f"{path} lists {len(numbers)} Routers, and Lanner exports checkpoints with one"
        raise UnsupportedError(msg)
    (number,) = numbers
    place = entries[number][1]
    routes, parameters = read_routes(place)
    mappings = _mappings(parameters, place)
    found = {task: _route(task, routes, mappings) for task in TASKS}
    lacking = [task for task, route in found.items() if route is None]
    if lacking:
        msg = (
            f"{place} has the routes {', '.join(routes)}, and none for the task {lacking[0]!r}: "
            "Lanner exports Routers of queries and documents, so name the routes query and document"
        )
        raise UnsupportedError(msg)
    named = _route(None, routes, mappings) or parameters.get("default_route")
    if named is None and parameters.get("allow_empty_key", True):
        named = next(iter(routes))
    default = next((task for task, route in found.items() if route == named), None)
    warnings = []
    if named is None:
        warnings.append(f"{place} names no default route, so texts without a task are documents")
        default = _DOCUMENT
    elif default is None:
        msg = (
            f"{place} sends texts without a task to the route {named!r}, which is neither that of "
            "queries nor that of documents: make one of these its default_route"
        )
        raise UnsupportedError(msg)
    if others := [route for route in routes if route not in found.values()]:
        warnings.append(f"no text takes the route {', '.join(others)} of {place}: it is left out")
    modules: dict[str | None, list[Module]] = {
        task: [*entries[:number], *routes[str(route)], *entries[number + 1 :]]
        for task, route in found.items()
    }
    if len(set(found.values())) == 1:
        modules, default = {None: modules[_DOCUMENT]}, None
    return Ways(directory, modules, default, warnings)


def _is_router(kind: str) -> bool:
    return kind.startswith(TRUSTED_PREFIX) and class_name(kind) in SEVERAL_WAYS


def _route(
    task: str | None,
    routes: Mapping[str, object],
    mappings: Mapping[tuple[str | None, object], str],
) -> str | None:
    """Return the route of a task's texts, as sentence-transformers resolves it."""
    for key in ((task, "text"), (task, None), (None, "text"), (None, None)):
        if key in mappings:
            return mappings[key]
    named = [name for name in routes if task is not None and TASK_NAMED.get(name) == task]
    # "document" before its other names.
    return next(iter(sorted(named, key=lambda name: name != task)), None) or (
        "text" if "text" in routes else None
    )


def _mappings(parameters: Mapping[str, Any], place: Path) -> dict[tuple[str | None, object], str]:
    """Return the routes of pairs of a task and a kind of input, which JSON holds as text."""
    given = parameters.get("route_mappings") or {}
    try:
        found = {ast.literal_eval(key): str(route) for key, route in given.items()}
        return {(task, kind): route for (task, kind), route in found.items()}
    except (ValueError, SyntaxError, TypeError, AttributeError, RecursionError) as error:
        msg = f"{place} has route_mappings that are not pairs of task and kind: {str(error)[:200]}"
        raise CheckpointError(msg) from None
