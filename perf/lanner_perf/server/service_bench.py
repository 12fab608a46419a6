"""One run of `lanner bench` with URLs that end with ``/v1``: services, beside the model in process.

Any service with OpenAI's API can be measured. So Lanner's service is compared with others on the
same texts, in interleaved rounds.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lanner.artifact.artifact import Artifact
from lanner.errors import BenchmarkError, HeadError
from lanner.loading.selection import select
from lanner_perf.record.schema import LeftOut
from lanner_perf.report.extent import Extent
from lanner_perf.server.server_bench import IN_PROCESS
from lanner_perf.subjects.embeddings_api import Endpoint
from lanner_perf.subjects.subject import Spec, SubjectError
from lanner_perf.suites.measure import measure
from lanner_perf.suites.suite_plan import SuitePlan

#: Suites that would measure the client, not the service.
_OF_PROCESSES = ("memory", "cold_start")
#: The seconds of a round with each number of callers.
_POINT_S = 2.0


@dataclass(frozen=True)
class ServiceRequest:
    """The request for a benchmark of services.

    Attributes:
        urls: The URL of each service, ending with ``/v1``, or with ``/v1/`` and the name of a
            model.
        against: The artifact that runs in process; its tokenizer counts the tokens.
        extent: The extent of the measurements.
    """

    urls: tuple[str, ...]
    against: Path
    extent: Extent


def is_service(url: str) -> bool:
    """Return True if a URL is that of a service with OpenAI's API."""
    parts = urlsplit(url)
    return parts.scheme == "http" and f"{parts.path}/".startswith("/v1/")


def bench_services(request: ServiceRequest, progress: Callable[[str], object]) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        request: The request.
        progress: Called when a step begins.

    Returns:
        The report as JSON values, with the keys of `lanner_perf.bench.BenchReport`.

    Raises:
        BenchmarkError: A service does not answer, or has several models and the URL names none.
        HeadError: The artifact does not return vectors.
        LannerError: The artifact or the pairs cannot be used.
    """
    begin_s = time.perf_counter()
    artifact, extent = Artifact.open(request.against), request.extent
    if not artifact.manifest.head_record.embeds:
        msg = (
            f"{artifact.directory} has the head {artifact.manifest.head!r}: a benchmark of "
            "services needs an artifact that returns vectors"
        )
        raise HeadError(msg)
    suites = tuple(suite for suite in extent.suites if suite not in _OF_PROCESSES)
    extent = replace(extent, suites=suites)
    progress("asking the services")
    own = {"variant": select(artifact)[0].name}
    specs = [Spec(IN_PROCESS, "lanner", str(artifact.directory), own), *map(_spec, request.urls)]
    try:
        report = measure(artifact, specs, extent.workloads(), _plan(extent), progress)
    except SubjectError as error:
        raise BenchmarkError(str(error)) from None
    left_out: list[LeftOut] = [
        {"name": suite, "reason": "it would measure the client of a service"}
        for suite in _OF_PROCESSES
        if suite in request.extent.suites
    ]
    report["left_out"] = left_out + report["left_out"]
    return extent.finish(report, begin_s=begin_s, has_all=False)


def _plan(extent: Extent) -> SuitePlan:
    """Return the plan: as many rounds of callers as of other suites, and no texts by length.

    Texts by length would measure the engine, not the service.
    """
    plan = replace(extent.plan(), lengths=())
    if extent.is_quick:
        return plan
    return replace(plan, point_rounds=plan.rounds, point_s=_POINT_S)


def _spec(url: str) -> Spec:
    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc}/v1"
    name = parts.path.removeprefix("/v1").strip("/")
    try:
        models = Endpoint(base, name).models()
    except (OSError, RuntimeError, ValueError, LookupError) as error:
        msg = f"no service with OpenAI's API answers at {base}: {error}"
        raise BenchmarkError(msg) from None
    known = {str(one["id"]): str(one.get("owned_by", "service")) for one in models}
    if not name and len(known) == 1:
        (name,) = known
    if name not in known:
        msg = f"{url} names no model of the service: give {_or(list(known), base)}"
        raise BenchmarkError(msg)
    return Spec(f"{known[name]} {parts.netloc}", "service", base, {"model": name})


def _or(names: Sequence[str], base: str) -> str:
    return " or ".join(f"{base}/{name}" for name in names)
