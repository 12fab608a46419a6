"""The routes of the service itself: health, readiness and metrics."""

from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.vectors import to_json
from lanner.service.dialects.dialect import Route
from lanner.service.dialects.tei_answers import refuse

#: The routes that can be put on a port of their own.
ADMIN_PATHS = ("/metrics", "/docs", "/openapi.json")


async def health(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /health``: the process answers."""
    del request, pipeline
    return Response()


async def ready(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /ready``: every model answered a text a moment ago."""
    del request
    await pipeline.health.require(*pipeline.catalogue)
    names = [one.name for one in pipeline.catalogue]
    return Response(to_json({"status": "ready", "models": names}))


async def metrics(request: Request, pipeline: Pipeline) -> Response:
    """Answer ``GET /metrics``: the counts in Prometheus' text format."""
    del request
    text = pipeline.figures.text(pipeline.queue)
    return Response(text.encode(), media_type="text/plain; version=0.0.4; charset=utf-8")


ROUTES = (
    Route("GET", "/health", health, refuse, is_open=True),
    Route("GET", "/ready", ready, refuse, is_open=True),
    Route("GET", "/v2/health/ready", ready, refuse, is_open=True),
    Route("GET", "/metrics", metrics, refuse),
)
