"""One run of `lanner bench` with URLs: a model on a Triton server, beside itself in process."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.errors import BenchmarkError, UsageError
from lanner.triton.client.transport import Address
from lanner_perf.kinds.heads import INPUTS
from lanner_perf.record.schema import LeftOut, Server, whole_rows
from lanner_perf.report.extent import Extent
from lanner_perf.server.server_models import ServerModel, artifact_of, find_models, require_same
from lanner_perf.subjects.server_cpu import is_here
from lanner_perf.subjects.subject import NEW, SEEN, TEXTS, Spec, SubjectError
from lanner_perf.suites.measure import measure
from lanner_perf.suites.suite_plan import SuitePlan

Progress = Callable[[str], object]
IN_PROCESS = "in process"
#: The texts of the one large call, and the seconds of a round with each number of callers.
_BULK_TEXTS, _POINT_S = 10_000, 2.0
_NO_ARTIFACT: LeftOut = {
    "name": IN_PROCESS,
    "reason": "no artifact was given: --against DIR measures the model's artifact in process, and "
    "so the time that the server adds",
}
_WITH_CACHE = "start it with 'lanner serve', which gives it 64 MB, or with --cache-config"


@dataclass(frozen=True)
class ServerRequest:
    """The request for a benchmark of a server.

    Attributes:
        urls: The URLs of one server, one for each protocol, without the model's name.
        name: The name of the model.
        against: The artifact of the model, or None to leave that out.
        access: Headers and certificates, as `lanner.connect` takes them.
        extent: The extent of the measurements.
        cached: Another model of the server, from the same artifact, with a response cache.
        others: Further subjects.
    """

    urls: tuple[str, ...]
    name: str
    against: Path | None
    access: Mapping[str, Any]
    extent: Extent
    cached: str = ""
    others: Sequence[Spec] = ()


def bench_server(request: ServerRequest, progress: Progress) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        request: The request.
        progress: Called when a step begins.

    Returns:
        The report as JSON values, with the keys of `lanner_perf.bench.BenchReport`.

    Raises:
        UsageError: Two URLs have the same protocol, or one is not a URL of a server.
        BenchmarkError: The artifact is not the model's, the URLs lead to different models, or
            nothing of the server could be measured.
        LannerError: No server answers, it has no such model, or the artifact or the pairs cannot be
            used.
    """
    begin_s = time.perf_counter()
    extent = request.extent
    _require_protocols(request.urls)
    workloads = extent.workloads()
    given = None if request.against is None else Artifact.open(request.against)
    progress("asking the server")
    found = [find_models(url, request.name, request.access) for url in request.urls]
    models = [model for one in found for model in one.models]
    cached, reason = _cached_models(request, models)
    _require_one(request, models)
    left_out = [item for one in found for item in one.left_out]
    if reason:
        left_out.append({"name": "response cache", "reason": reason})
    if given is None:
        left_out.append(_NO_ARTIFACT)
    else:
        for model in models + cached:
            require_same(given, model)
    with artifact_of(models, given) as artifact:
        specs = _specs(request, models, cached, given)
        try:
            report = measure(artifact, specs, workloads, _plan(extent), progress)
        except SubjectError as error:
            raise BenchmarkError(str(error)) from None
    report["left_out"] = left_out + report["left_out"]
    _require_measured(report)
    server: Server = {
        "version": models[0].triton,
        "urls": list(request.urls),
        "is_here": is_here(Address.parse(request.urls[0]).host),
        "models": [*{model.served.name: model.to_json() for model in models + cached}.values()],
        "new_texts": _is_remembered(models),
    }
    report["server"] = server
    return extent.finish(report, begin_s=begin_s, has_all=given is not None)


def _plan(extent: Extent) -> SuitePlan:
    """Return the plan: as many rounds of callers as of other suites, and no texts by length.

    Texts by length would measure the engine, not the server.
    """
    plan = extent.plan()
    # The loads are multiples of the reference's speed in bulk. Callers with one text each get less.
    loads = tuple(load / 4 for load in plan.loads)
    plan = replace(plan, lengths=(), loads=loads, point_rounds=plan.rounds)
    return plan if extent.is_quick else replace(plan, bulk_texts=_BULK_TEXTS, point_s=_POINT_S)


def _cached_models(
    request: ServerRequest, models: Sequence[ServerModel]
) -> tuple[list[ServerModel], str]:
    """Return the models for measuring the cache over the first protocol, or the reason for none."""
    url = request.urls[0]
    asked = [model for model in models if model.url == url]
    if request.cached:
        asked = find_models(url, request.cached, request.access).models
    if found := [model for model in asked if model.has_cache]:
        return found, ""
    if any(model.asks_for_cache for model in asked):
        return [], f"the model asks for a cache, and tritonserver has none: {_WITH_CACHE}"
    how = f"make its repository with 'lanner repository --response-cache', and {_WITH_CACHE}"
    return [], f"{asked[0].served.name} is served without a cache: {how}"


def _is_remembered(models: Sequence[ServerModel]) -> bool:
    """Return True if a server caches answers, so that no text may be timed twice."""
    return any(model.has_cache for model in models)


def _specs(
    request: ServerRequest,
    models: Sequence[ServerModel],
    cached: Sequence[ServerModel],
    given: Artifact | None,
) -> list[Spec]:
    """Return the subject in process, if there is an artifact, and every way to the server."""
    new = {TEXTS: NEW} if _is_remembered(models) else {}
    specs = list(request.others)
    if given is not None:
        specs.insert(0, _in_process(given, models[0], new))
    specs += [_client(model, request, model.way, new) for model in models]
    specs += [_client(model, request, f"{model.way}, cached", {TEXTS: SEEN}) for model in cached]
    return specs


def _in_process(artifact: Artifact, model: ServerModel, options: Mapping[str, str]) -> Spec:
    """Return the subject of the same variant in process."""
    head = artifact.manifest.head_record
    own = {
        INPUTS: head.inputs.value,
        "variant": model.served.variant(model.manifest).name,
        **options,
    }
    kind = "lanner" if head.answers_vectors else "lanner-head"
    return Spec(IN_PROCESS, kind, str(artifact.directory), own)


def _client(
    model: ServerModel,
    request: ServerRequest,
    name: str,
    options: Mapping[str, str],
) -> Spec:
    own = {
        INPUTS: model.manifest.head_record.inputs.value,
        "model": model.served.name,
        "connect": json.dumps(dict(request.access)),
        **options,
    }
    return Spec(name, "triton", model.url, own, is_optional=True)


def _require_protocols(urls: Sequence[str]) -> None:
    protocols = [Address.parse(url).protocol for url in urls]
    if len(set(protocols)) < len(protocols):
        msg = (
            f"{' and '.join(urls)} have the same protocol: give one URL, or one for gRPC and one "
            "for HTTP of the same server"
        )
        raise UsageError(msg)


def _require_one(request: ServerRequest, models: Sequence[ServerModel]) -> None:
    """Refuse URLs that evidently belong to different servers."""
    kinds = {(m.served.name, m.triton, m.served.version, m.tokenizer_sha256) for m in models}
    if len(kinds) > len({model.served.name for model in models}):
        msg = (
            f"{' and '.join(request.urls)} lead to different models called {request.name}: give "
            "the URLs of one server"
        )
        raise BenchmarkError(msg)


def _require_measured(report: Mapping[str, Any]) -> None:
    """Refuse a report without a figure of the server."""
    suites = [suite for suite in report["suites"] if suite != "cold_start"]
    rows = [row for suite in suites for row in whole_rows(report, [suite])]
    if suites and not any(row["kind"] == "triton" for row in rows):
        raise BenchmarkError(report["left_out"][-1]["reason"])
