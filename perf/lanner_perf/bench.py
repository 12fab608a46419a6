"""Measures an artifact beside sentence-transformers on the same checkpoint; writes JSON.

python -m lanner_perf.bench build/minilm.lanner --checkpoint CHECKPOINT --output bench.json
"""

import argparse
import json
import sys
from pathlib import Path

from lanner.artifact import Artifact
from lanner.commands.common import positive, steps, table
from lanner.errors import LannerError
from lanner.machine import available_cores
from lanner.staging import require_output_file, staged_file
from lanner_perf.heads import head_specs
from lanner_perf.layout import whole_rows
from lanner_perf.measure import Report, measure
from lanner_perf.plan import BASIC_SUITES, Plan
from lanner_perf.subjects import Spec, SubjectError
from lanner_perf.workloads import build_workloads

REFERENCE = "sentence-transformers"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.bench", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument("--checkpoint", required=True, help="the checkpoint that it was made from")
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score")
    parser.add_argument("--threads", type=positive, default=available_cores())
    parser.add_argument("--rounds", type=positive, default=3)
    parser.add_argument("--output", type=Path, help="where the JSON goes (default: stdout)")
    args = parser.parse_args()
    try:
        if args.output is not None:
            require_output_file(args.output)
        artifact = Artifact.open(args.artifact)
        plan = Plan(args.threads, BASIC_SUITES, rounds=args.rounds, lengths=())
        workloads = build_workloads(args.pairs)
        with steps() as begin:
            report = measure(artifact, specs(artifact, args.checkpoint), workloads, plan, begin)
    except (LannerError, SubjectError, OSError) as error:
        sys.stderr.write(f"lanner_perf.bench: error: {error}\n")
        return 1
    text = json.dumps(report, indent=2, allow_nan=False) + "\n"
    sys.stderr.write(summary(report) + "\n")
    if args.output is None:
        sys.stdout.write(text)
    else:
        with staged_file(args.output) as file:
            file.write(text.encode())
        sys.stderr.write(f"\nwritten to {args.output}\n")
    return 0


def specs(artifact: Artifact, checkpoint: str) -> list[Spec]:
    """The reference first, then every variant of the artifact."""
    if artifact.manifest.head != "embed":
        return head_specs(artifact, checkpoint)
    variants = [
        Spec(f"lanner {variant.name}", "lanner", str(artifact.directory), {"variant": variant.name})
        for variant in artifact.manifest.variants
    ]
    return [Spec(f"{REFERENCE} torch fp32", REFERENCE, checkpoint), *variants]


def summary(report: Report) -> str:
    """The report as a table, every figure with its ratio to the reference."""
    reference = report["subjects"][0]
    header = ("", "short/s", "", "mixed/s", "", "p50 ms", "", "p95 ms", "p99 ms")
    rows: list[tuple[object, ...]] = [(*header, "import s", "load s", "quality")]
    for subject in whole_rows(report, report["suites"]):
        quality, latency = subject.get("quality", {}), subject["latency_ms"]
        row: list[object] = [subject["name"]]
        for workload in ("short", "mixed"):
            rate = subject["throughput"][workload]["texts_per_s"]
            base = reference["throughput"][workload]["texts_per_s"]
            row += [f"{rate:,.0f}", f"{rate / base:.2f}x"]
        row += [f"{latency['p50']:.2f}", f"{latency['p50'] / reference['latency_ms']['p50']:.2f}x"]
        row += [f"{latency['p95']:.2f}", f"{latency['p99']:.2f}"]
        row += [f"{subject['cold_start'][key]:.2f}" for key in ("import_s", "load_s")]
        if "spearman" in quality:
            row.append(f"{quality['spearman']:.2f} Spearman")
        else:
            row.append(f"{quality['cosine_mean']:.4f} cosine" if quality else "not measured")
        rows.append(tuple(row))
    machine = report["machine"]
    source = next(iter(report["workloads"].values()))["source"]
    where = f"{machine['cpu']}, {report['threads']} threads"
    return f"{report['artifact']} on {where}, texts: {source}\n\n{table(rows)}"


if __name__ == "__main__":
    sys.exit(main())
