"""The routes of the service itself: health, readiness and metrics."""

from lanner.monitoring import exposition
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.vectors import to_json
from lanner.service.dialects.dialect import Route
from lanner.service.dialects.tei_answers import refuse
from lanner.service.metrics.families import FAMILIES
from lanner.service.metrics.tei_names import tei_text
from lanner.service.metrics.triton_metrics import triton_metrics

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
    record = pipeline.figures.record()
    text = exposition.text(record, FAMILIES)
    if pipeline.has_tei_names:
        text += tei_text(record)
    if pipeline.triton_metrics is not None:
        text += await triton_metrics(pipeline.triton_metrics)
    return Response(text.encode(), media_type=exposition.MEDIA_TYPE)


ROUTES = (
    Route("GET", "/health", health, refuse, is_open=True),
    Route("GET", "/ready", ready, refuse, is_open=True),
    Route("GET", "/v2/health/ready", ready, refuse, is_open=True),
    Route("GET", "/metrics", metrics, refuse),
)
