"""One run of `lanner bench` on an artifact: choose the subjects, measure them, report."""

import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NotRequired

from lanner.artifact.artifact import Artifact
from lanner.errors import BenchmarkError, UnsupportedError, UsageError
from lanner.files.texts import read_texts
from lanner_perf.floor.floor import fractions, measure_floor
from lanner_perf.kinds.heads import head_specs
from lanner_perf.peers.against import ALL, NONE, QUICK, Peers, check_names, make
from lanner_perf.record.schema import Report, Server
from lanner_perf.report.checks.peer_checks import TORCH
from lanner_perf.report.extent import Extent
from lanner_perf.subjects.subject import Spec, SubjectError
from lanner_perf.subjects.workloads import Workloads
from lanner_perf.suites.measure import measure

Progress = Callable[[str], object]


class BenchReport(Report):
    """The report of a whole run, with the keys that only the run itself knows.

    Attributes:
        command: The command line of the run.
        is_quick: True if it was measured with ``--quick``.
        is_whole: True if every suite and every peer was requested.
        whole_s: The seconds of the whole run, the making of the peers included.
        checks: The checks; see `lanner_perf.report.checks.check.Check`.
        floor: The machine's peaks and the floor of the model; see `lanner_perf.floor.floor.Floor`.
            A subject's ``of_floor`` is the answer of `lanner_perf.floor.floor.fractions`.
        server: The server whose models were measured, if there is one.
    """

    command: str
    is_quick: bool
    is_whole: bool
    whole_s: float
    checks: list[dict[str, Any]]
    floor: NotRequired[dict[str, Any]]
    server: NotRequired[Server]


@dataclass(frozen=True)
class Request:
    """The request for a benchmark.

    Attributes:
        artifact: An artifact.
        checkpoint: The checkpoint of the artifact, which the peers run; None without peers.
        against: Names of peers, or `ALL`, or `NONE`.
        extent: The extent of the run.
        calibration: A file of texts for the ranges of OpenVINO's int8, or None for the sentences
            that Lanner ships.
    """

    artifact: Path
    checkpoint: str | None
    against: tuple[str, ...]
    extent: Extent
    calibration: Path | None = None


def bench(request: Request, progress: Progress) -> dict[str, Any]:
    """Run the benchmark.

    Args:
        request: The request.
        progress: Called when a step begins.

    Returns:
        The report as JSON values, with the keys of `BenchReport`.

    Raises:
        UsageError: A peer's name is unknown or of another head, or peers need a checkpoint.
        BenchmarkError: A subject failed that the comparison cannot do without.
        LannerError: The artifact or the pairs cannot be used.
    """
    begin_s = time.perf_counter()
    check_names(request.against)
    artifact = Artifact.open(request.artifact)
    extent = request.extent
    workloads, plan = extent.workloads(), extent.plan()
    with tempfile.TemporaryDirectory(prefix="lanner-") as work:
        try:
            subjects = _subjects(request, artifact, Path(work), progress)
            report = measure(artifact, subjects.specs, workloads, plan, progress)
        except SubjectError as error:
            raise BenchmarkError(str(error)) from None
    report["left_out"] = subjects.left_out + report["left_out"]
    if "throughput" in extent.suites:
        pythons = dict.fromkeys([sys.executable, *(spec.python for spec in subjects.specs)])
        _add_floor(report, extent, artifact, workloads, tuple(pythons), progress)
    return extent.finish(report, begin_s=begin_s, has_all=request.against == ALL)


def specs(artifact: Artifact, checkpoint: str) -> list[Spec]:
    """Return the specs: the reference, which is the checkpoint's framework, then each variant."""
    record = artifact.manifest.head_record
    if not record.answers_vectors:
        return head_specs(artifact, checkpoint)
    if not record.embeds:
        msg = (
            f"{artifact.directory} has the head {record.head!r}, which lanner bench does not "
            "measure: 'lanner tune' measures its engines"
        )
        raise UnsupportedError(msg)
    variants = [
        Spec(f"lanner {variant.name}", "lanner", str(artifact.directory), {"variant": variant.name})
        for variant in artifact.manifest.variants
    ]
    return [Spec(TORCH, "sentence-transformers", checkpoint), *variants]


def _subjects(request: Request, artifact: Artifact, work: Path, progress: Progress) -> Peers:
    """Return the subjects, the reference first; without peers it is the first variant."""
    reference, *variants = specs(artifact, request.checkpoint or "")
    if request.against == NONE:
        return Peers(variants, [])
    if request.checkpoint is None:
        msg = (
            "the peers run the checkpoint that the artifact was made from: give it with "
            "--checkpoint, or --against none to measure the artifact alone"
        )
        raise UsageError(msg)
    # A variant may be made for another machine.
    optional = [replace(variant, is_optional=True) for variant in variants]
    extent = request.extent
    if artifact.manifest.head_record.answers_vectors:
        names = QUICK if extent.is_quick and request.against == ALL else request.against
        calibration = None if request.calibration is None else read_texts(request.calibration)
        peers = make(
            names,
            artifact,
            request.checkpoint,
            work,
            calibration=calibration,
            threads=extent.threads,
            progress=progress,
        )
        return Peers(peers.specs + optional, peers.left_out)
    if request.against == ALL:
        return Peers([reference, *optional], [])
    msg = (
        f"{artifact.directory} has the head {artifact.manifest.head!r}, and the peers answer with "
        "vectors: use --against all for its own framework, or none"
    )
    raise UsageError(msg)


def _add_floor(
    report: dict[str, Any],
    extent: Extent,
    artifact: Artifact,
    workloads: Workloads,
    pythons: Sequence[str],
    progress: Progress,
) -> None:
    """Add the floor and each subject's fraction of it to the report, or the reason for neither."""
    begin = time.perf_counter()
    try:
        if not artifact.manifest.head_record.answers_vectors:
            msg = "the operations are counted only for models that return vectors"
            raise UnsupportedError(msg)
        floor = measure_floor(
            artifact,
            workloads,
            threads=extent.threads,
            is_quick=extent.is_quick,
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
