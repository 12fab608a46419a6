"""One run of `lanner bench`: what is measured, and the report of it."""

import shlex
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired

from lanner.artifact import Artifact
from lanner.commands.common import table
from lanner.errors import BenchmarkError, UnsupportedError, UsageError
from lanner_perf.against import ALL, NONE, QUICK, Peers, check_names, make
from lanner_perf.bench_checks import TORCH, bench_checks
from lanner_perf.content import check_table, headline
from lanner_perf.floor import fractions, measure_floor
from lanner_perf.heads import head_specs
from lanner_perf.layout import SUITES, Report
from lanner_perf.measure import measure
from lanner_perf.plan import Plan
from lanner_perf.subjects import Spec, SubjectError
from lanner_perf.workloads import Workloads, build_workloads

Progress = Callable[[str], object]
_VECTORS = "embed"


class BenchReport(Report):
    """A report with what only the whole run knows.

    Attributes:
        command: The command line that made it.
        is_quick: Whether it was measured with ``--quick``.
        is_whole: Whether every suite and every peer was asked for.
        whole_s: How long all of it took, making the peers included.
        checks: What must hold; see `lanner_perf.checks.Check`.
        floor: The machine's peaks and the floor of the model; see `lanner_perf.floor.Floor`. A
            subject's ``of_floor`` is what `lanner_perf.floor.fractions` says of it.
    """

    command: str
    is_quick: bool
    is_whole: bool
    whole_s: float
    checks: list[dict[str, Any]]
    floor: NotRequired[dict[str, Any]]


#: Texts of each workload in a quick run.
_QUICK_TEXTS = 400


@dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        artifact: An artifact.
        checkpoint: What it was made from; what peers run. None without peers.
        against: Names of peers, or `ALL`, or `NONE`.
        suites: Of `lanner_perf.layout.SUITES`.
        pairs: A CSV of labelled pairs, or None for the sentences that Lanner ships.
        threads: Cores that each subject may use.
        rounds: Rounds of latency and throughput, or None for the plan's.
        is_quick: Whether to measure little, to try it out.
        command: The command line.
    """

    artifact: Path
    checkpoint: str | None
    against: tuple[str, ...]
    suites: tuple[str, ...]
    pairs: Path | None
    threads: int
    rounds: int | None
    is_quick: bool
    command: tuple[str, ...]


def bench(request: Request, progress: Progress) -> dict[str, Any]:
    """Measures what is asked for.

    Args:
        request: What.
        progress: Told when a step begins.

    Returns:
        The report, as JSON values; `BenchReport` says what is where.

    Raises:
        UsageError: A peer's name is unknown or of another head, or peers need a checkpoint.
        BenchmarkError: A subject failed without which there is nothing to compare.
        LannerError: The artifact or the pairs cannot be used.
    """
    begin = time.perf_counter()
    check_names(request.against)
    artifact = Artifact.open(request.artifact)
    workloads = build_workloads(request.pairs)
    if request.is_quick:
        workloads = workloads.shortened(short=_QUICK_TEXTS, mixed=_QUICK_TEXTS)
    size = Plan.quick if request.is_quick else Plan.full
    plan = size(request.threads, request.suites)
    if request.rounds is not None:
        plan = replace(plan, rounds=request.rounds)
    try:
        subjects = _subjects(request, artifact, progress)
        report = measure(artifact, subjects.specs, workloads, plan, progress)
    except SubjectError as error:
        raise BenchmarkError(str(error)) from None
    report["left_out"] = subjects.left_out + report["left_out"]
    if "throughput" in request.suites:
        pythons = dict.fromkeys([sys.executable, *(spec.python for spec in subjects.specs)])
        _add_floor(report, request, artifact, workloads, tuple(pythons), progress)
    report["command"] = shlex.join(request.command)
    report["is_quick"] = request.is_quick
    report["is_whole"] = set(request.suites) == set(SUITES) and request.against == ALL
    report["whole_s"] = round(time.perf_counter() - begin, 1)
    report["checks"] = [check.to_json() for check in bench_checks(report)]
    return report


def specs(artifact: Artifact, checkpoint: str) -> list[Spec]:
    """The reference first, which is the checkpoint's own framework, then every variant."""
    if artifact.manifest.head != _VECTORS:
        return head_specs(artifact, checkpoint)
    variants = [
        Spec(f"lanner {variant.name}", "lanner", str(artifact.directory), {"variant": variant.name})
        for variant in artifact.manifest.variants
    ]
    return [Spec(TORCH, "sentence-transformers", checkpoint), *variants]


def summary(report: Mapping[str, Any]) -> str:
    """The first table of a report and, where it was checked, what must hold; for a terminal."""
    figures = headline(report)
    rows: list[list[object]] = [[*figures.header]]
    rows += [
        [subject["name"], *(" ".join(filter(None, cell[:2])) for cell in row[1:])]
        for subject, row in zip(report["subjects"], figures.rows, strict=True)
    ]
    machine = report["machine"]
    source = next(iter(report["workloads"].values()))["source"]
    where = f"{machine['cpu']}, {report['threads']} threads"
    parts = [f"{report['artifact']} on {where}, texts: {source}", table(rows)]
    if "checks" in report:
        checks = check_table(report)
        parts.append(table([checks.header, *([str(cell) for cell in row] for row in checks.rows)]))
    return "\n\n".join(parts)


def _subjects(request: Request, artifact: Artifact, progress: Progress) -> Peers:
    """The reference first; without peers it is the first variant of the artifact."""
    reference, *variants = specs(artifact, request.checkpoint or "")
    if request.against == NONE:
        return Peers(variants, [])
    if request.checkpoint is None:
        msg = (
            "the peers run the checkpoint that the artifact was made from: give it with "
            "--checkpoint, or --against none to measure the artifact alone"
        )
        raise UsageError(msg)
    # A variant may be for another machine than this one.
    optional = [replace(variant, is_optional=True) for variant in variants]
    head = artifact.manifest.head
    if head == _VECTORS:
        names = QUICK if request.is_quick and request.against == ALL else request.against
        peers = make(names, request.checkpoint, request.threads, progress)
        return Peers(peers.specs + optional, peers.left_out)
    if request.against == ALL:
        return Peers([reference, *optional], [])
    msg = (
        f"{artifact.directory} has the head {head!r}, and the peers answer with vectors: "
        "use --against all for its own framework, or none"
    )
    raise UsageError(msg)


def _add_floor(
    report: dict[str, Any],
    request: Request,
    artifact: Artifact,
    workloads: Workloads,
    pythons: Sequence[str],
    progress: Progress,
) -> None:
    """The floor of the report, and how near each subject comes; or why there is none."""
    begin = time.perf_counter()
    try:
        if artifact.manifest.head != _VECTORS:
            msg = "its operations are counted for texts that become vectors"
            raise UnsupportedError(msg)
        floor = measure_floor(
            artifact,
            workloads,
            threads=request.threads,
            is_quick=request.is_quick,
            pythons=pythons,
            progress=progress,
        )
    except (UnsupportedError, SubjectError) as error:
        report["left_out"].append({"name": "the floor", "reason": str(error)})
        return
    report["floor"] = floor
    for row in report["subjects"]:
        row["of_floor"] = fractions(row, floor)
    report["seconds"]["floor"] = round(time.perf_counter() - begin, 1)
