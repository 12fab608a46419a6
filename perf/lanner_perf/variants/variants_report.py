"""Measures every variant of an artifact beside what others make of its checkpoint.

    python -m lanner_perf.variants.variants_report DIR --checkpoint DIR --pairs pairs.csv

Writes a page, a plot and all figures as JSON.
"""

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lanner.artifact.artifact import Artifact
from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.errors import LannerError, UnsupportedError
from lanner.files.staging import staged_file
from lanner.files.texts import read_texts, shipped_sentences
from lanner.machine.machine import available_cores
from lanner_perf.bench import specs
from lanner_perf.peers.fused import FUSED, fused_spec, make_fused
from lanner_perf.peers.peers import ENVIRONMENTS, WORK, all_peers
from lanner_perf.peers.stock import STOCK, make_stock, stock_spec
from lanner_perf.record.schema import whole_rows
from lanner_perf.report.checks import variant_checks
from lanner_perf.report.plot import draw_plot
from lanner_perf.subjects.subject import Spec, SubjectError
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites.measure import Report, measure
from lanner_perf.suites.suite_plan import BASIC_SUITES, Plan
from lanner_perf.variants.page import page

Progress = Callable[[str], object]
_RANDOM_BATCHES = 200
_BUILD = Path("build")


def main() -> int:
    args = _parser().parse_args()
    try:
        artifact = Artifact.open(args.artifact)
        if artifact.manifest.head != "embed":
            msg = (
                f"{args.artifact} has the head {artifact.manifest.head!r}, and the report compares "
                "vectors: give an artifact with the head 'embed'"
            )
            raise UnsupportedError(msg)
        args.output.mkdir(parents=True, exist_ok=True)
        report = _report(args, artifact)
    except (LannerError, SubjectError, OSError) as error:
        sys.stderr.write(f"lanner_perf.variants.variants_report: error: {error}\n")
        return 1
    _write(report, args.output / _stem(report, args.machine))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.variants.variants_report", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument("--checkpoint", required=True, help="the checkpoint that it was made from")
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score")
    parser.add_argument(
        "--calibration",
        type=Path,
        help="texts for the ranges of OpenVINO's int8, those of the artifact's int8 in fairness "
        "(default: the sentences that Lanner ships)",
    )
    parser.add_argument("--threads", type=positive, default=available_cores())
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--quick", action="store_true", help="one short round, to try it out")
    parser.add_argument(
        "--without-peers", action="store_true", help="leave out what others make of it"
    )
    parser.add_argument(
        "--environments",
        metavar="DIR",
        type=Path,
        default=ENVIRONMENTS,
        help="where the peers' environments are, or are made (default: %(default)s)",
    )
    parser.add_argument(
        "--peer-models",
        metavar="DIR",
        type=Path,
        default=WORK,
        help="where their model files are, or are made (default: %(default)s)",
    )
    parser.add_argument(
        "--machine", help="what the files call this machine (default: its processor and cores)"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("perf/results"), help="directory (default: %(default)s)"
    )
    return parser


def _report(args: argparse.Namespace, artifact: Artifact) -> Report:
    # Of the mixed texts the half, so that a dozen subjects take ten minutes.
    workloads = build_workloads(args.pairs).shortened(mixed=500)
    plan = Plan(
        args.threads,
        BASIC_SUITES,
        rounds=args.rounds,
        lengths=(),
        random_batches=_RANDOM_BATCHES,
    )
    if args.quick:
        workloads = workloads.shortened(short=300, mixed=50)
        plan = replace(Plan.quick(args.threads, BASIC_SUITES), lengths=(), random_batches=20)
    calibration = read_texts(args.calibration) if args.calibration else shipped_sentences()
    _BUILD.mkdir(exist_ok=True)
    with steps() as begin, tempfile.TemporaryDirectory(prefix="peers-", dir=_BUILD) as work:
        subjects, left_out = _subjects(args, artifact, calibration, Path(work), begin)
        report = measure(artifact, subjects, workloads, plan, begin)
    report["left_out"] = left_out + report["left_out"]
    report["subjects"] = whole_rows(report, BASIC_SUITES)
    report["checks"] = [check.to_json() for check in variant_checks(report)]
    return report


def _subjects(
    args: argparse.Namespace,
    artifact: Artifact,
    calibration: list[str],
    work: Path,
    begin: Progress,
) -> tuple[list[Spec], list[Report]]:
    """Return the subjects to measure, the reference first, and those that could not be made."""
    reference, *variants = specs(artifact, args.checkpoint)
    found, left_out = [reference], []
    if args.without_peers:
        left_out.append({"name": "the peers", "reason": "--without-peers was given"})
    else:
        made = all_peers(
            args.checkpoint,
            args.environments,
            args.peer_models,
            calibration=calibration,
            threads=args.threads,
            progress=begin,
        )
        found, left_out = made.specs, made.left_out
    begin("quantizing the checkpoint with stock tools")
    try:
        make_stock(args.checkpoint, work / "stock.onnx")
        found.append(stock_spec(work / "stock.onnx", artifact.directory))
    except SubjectError as error:
        left_out.append({"name": STOCK, "reason": str(error)})
    fp32 = artifact.manifest.variant("fp32")
    try:
        if fp32 is None:
            msg = "the artifact holds no fp32 variant"
            raise SubjectError(msg)
        make_fused(artifact.file(fp32.file), work / "fused.onnx")
        found.append(fused_spec(work / "fused.onnx", artifact.directory))
    except SubjectError as error:
        left_out.append({"name": FUSED, "reason": str(error)})
    # A variant may be for another machine than this one.
    return found + [replace(variant, is_optional=True) for variant in variants], left_out


def _stem(report: Report, machine: str | None) -> str:
    machine = machine or f"{report['machine']['cpu']} {report['machine']['cores']} cores"
    words = re.findall(r"[a-z0-9]+", machine.lower())
    return f"{report['created'][:10]}-{report['artifact']}-{'-'.join(words)}"


def _write(report: Report, path: Path) -> None:
    """The three files, and the page on stdout too."""
    plot_file = path.with_name(f"{path.name}.png")
    text = page(report, plot_file.name)
    with staged_file(plot_file) as file:
        draw_plot(report, file)
    with staged_file(path.with_name(f"{path.name}.json")) as file:
        file.write(json.dumps(report, indent=2, allow_nan=False).encode() + b"\n")
    with staged_file(path.with_name(f"{path.name}.md")) as file:
        file.write(text.encode())
    sys.stdout.write(text)
    sys.stderr.write(f"written to {path}.md, .png and .json\n")


if __name__ == "__main__":
    sys.exit(main())
