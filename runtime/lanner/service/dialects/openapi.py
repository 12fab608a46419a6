"""The description of the service: OpenAPI, and a page for people without scripts."""

import html
from functools import cache
from typing import Any

import msgspec

from lanner._version import __version__
from lanner.service.dialects.dialect import Route

_REF = "#/components/schemas/{name}"
#: The statuses besides 200 that any route may return.
_REFUSED = {
    "400": "The request is not as the route needs it.",
    "401": "A key is needed.",
    "403": "The key is not for this model.",
    "404": "There is no such model.",
    "408": "The request came too slowly.",
    "413": "The request is too large.",
    "415": "The body is encoded.",
    "422": "The request is not as the route needs it.",
    "424": "The model has another head, or failed.",
    "429": "Too much waits, or the rate of the key is passed: see Retry-After.",
    "500": "The model failed.",
    "503": "A model does not answer.",
}


@cache
def description(routes: tuple[Route, ...]) -> dict[str, Any]:
    """Return the OpenAPI description of routes."""
    bodies = sorted({one.body for one in routes if one.body is not None}, key=_name)
    schemas, components = msgspec.json.schema_components(bodies, ref_template=_REF)
    of_body = dict(zip(bodies, schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        path, count = route.path.replace("{*}", "{}"), route.path.count("{")
        names = ("name", "version")[:count]
        operation: dict[str, Any] = {
            "summary": _summary(route),
            "operationId": f"{route.method.lower()}{path}".replace("/", "_").replace("{}", "one"),
            "responses": {
                "200": {"description": "The answer."},
                **{status: {"description": said} for status, said in _REFUSED.items()},
            },
            "parameters": [
                {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
                for name in names
            ],
        }
        if route.body is not None:
            content = {"application/json": {"schema": of_body[route.body]}}
            operation["requestBody"] = {"required": True, "content": content}
        elif route.method == "POST":
            operation["requestBody"] = {"content": {"application/json": {"schema": {}}}}
        filled = path.replace("{}", "{name}", 1).replace("{}", "{version}", 1)
        paths.setdefault(filled, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Lanner", "version": __version__},
        "paths": paths,
        "components": {"schemas": components},
    }


@cache
def page(routes: tuple[Route, ...]) -> str:
    """Return a page with every route, in HTML."""
    rows = [
        f"<tr><td>{route.method}</td><td><code>{html.escape(_shown(route.path))}</code></td>"
        f"<td>{html.escape(_summary(route))}</td></tr>"
        for route in routes
    ]
    return _PAGE.format(version=html.escape(__version__), rows="\n".join(rows))


def _summary(route: Route) -> str:
    said = (route.answer.__doc__ or "").partition("\n")[0].rstrip(".")
    return said.replace("``", "").partition(": ")[2].capitalize() or said.replace("``", "")


def _shown(path: str) -> str:
    return path.replace("{*}", "{}").replace("{}", "{name}", 1).replace("{}", "{version}", 1)


def _name(body: type[msgspec.Struct]) -> str:
    return f"{body.__module__}.{body.__name__}"


_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Lanner</title>
<style>body{{font-family:sans-serif;margin:2em;max-width:60em}}td{{padding:.2em .8em}}</style>
</head><body><h1>Lanner {version}</h1>
<p>The bodies of the requests are described in <a href="/openapi.json">openapi.json</a>.</p>
<table>
{rows}
</table></body></html>
"""
