"""All routes, and the choice of a request's route."""

import re
from collections.abc import Iterable

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.vectors import to_json
from lanner.service.dialects import (
    cohere,
    infinity,
    kserve,
    openai,
    openapi,
    own,
    ranking,
    tei_answers,
    tei_root,
)
from lanner.service.dialects.dialect import Refuse, Route


async def description(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /openapi.json``: this service in OpenAPI."""
    del request, pipeline
    return Response(to_json(openapi.description(ROUTES)))


async def docs(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /docs``: a page without scripts."""
    del request, pipeline
    policy = {"content-security-policy": "default-src 'none'; style-src 'unsafe-inline'"}
    body = openapi.page(ROUTES).encode()
    return Response(body, media_type="text/html; charset=utf-8", headers=policy)


ROUTES: tuple[Route, ...] = (
    *openai.ROUTES,
    *tei_root.ROUTES,
    *ranking.ROUTES,
    *infinity.ROUTES,
    *cohere.ROUTES,
    *kserve.ROUTES,
    *own.ROUTES,
    Route("GET", "/openapi.json", description, tei_answers.refuse),
    Route("GET", "/docs", docs, tei_answers.refuse),
)
#: The forms of refusals if no route matches, by the beginning of the path.
_REFUSALS: tuple[tuple[str, Refuse], ...] = (
    ("/infinity/", openai.refuse),
    ("/v1/rerank", ranking.refuse),
    ("/v1/embed", openai.refuse),
    ("/v1/", openai.refuse),
    ("/v2/rerank", cohere.refuse),
    ("/v2/embed", cohere.refuse),
    ("/v2", kserve.refuse),
)


class Router:
    """Finds the route of a request.

    Args:
        routes: The routes.
    """

    def __init__(self, routes: Iterable[Route]) -> None:
        self._plain: dict[str, dict[str, Route]] = {}
        self._variable: dict[str, tuple[re.Pattern[str], dict[str, Route]]] = {}
        for route in routes:
            if "{" not in route.path:
                self._plain.setdefault(route.path, {})[route.method] = route
                continue
            pattern = re.escape(route.path).replace(r"\{\*\}", "(.+)").replace(r"\{\}", "([^/]+)")
            _, methods = self._variable.setdefault(route.path, (re.compile(pattern), {}))
            methods[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]]:
        """Return the route of a request, and the variable parts of its path.

        Raises:
            Refusal: There is no such path, or not with this method.
        """
        methods, values = self._plain.get(path), tuple[str, ...]()
        if methods is None:
            for pattern, of_path in self._variable.values():
                if found := pattern.fullmatch(path):
                    methods, values = of_path, found.groups()
                    break
        if methods is None:
            msg = "there is no such route: see /docs"
            raise Refusal(Kind.NOT_FOUND, msg)
        route = methods.get("GET" if method == "HEAD" else method)
        if route is None:
            msg = f"this route takes {' or '.join(methods)}: see /docs"
            allowed = ", ".join(methods)
            raise Refusal(Kind.WRONG_METHOD, msg, headers={"allow": allowed})
        return route, values


def refuse(path: str, refusal: Refusal) -> Response:
    """Return a refusal of a path that no route answers, in the shape of its dialect."""
    shapes = (shape for start, shape in _REFUSALS if path.startswith(start))
    return next(shapes, tei_answers.refuse)(refusal)
