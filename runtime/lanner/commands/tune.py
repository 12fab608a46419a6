"""`lanner tune`: find the fastest configuration of an artifact on this machine, and store it."""

import argparse
import sys
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.heads import HEADS, InputKind
from lanner.artifact.quality_budget import QualityBudget
from lanner.commands.console import print_json, say, show, steps, table
from lanner.commands.options import Subparsers, add_command, argument, positive
from lanner.files.texts import read_pairs, read_texts
from lanner.loading.tuned import GOALS, Choice, machine_key, store_choice
from lanner.machine import interruption
from lanner.machine.machine import available_cores
from lanner.tune.rounds import Tell
from lanner.tune.search import Effort, Measured, Tuning, tune
from lanner.tune.workload import Workload

_EXAMPLES = """\
  lanner tune minilm.lanner --goal throughput
  lanner tune minilm.lanner --goal latency --min-quality cosine:0.99
  lanner tune minilm.lanner --goal throughput --texts tickets.csv --column body --threads 4
  lanner tune minilm.lanner --goal latency --dry-run --json | jq .choice

The choice is stored next to the artifact, in DIR.tuning.json. lanner.load and all commands use it
on this machine, with the same number of threads and the same versions. Arguments of lanner.load
win. Tuning again, for either goal, replaces the choice.
"""
EFFORT = Effort()


def add_parser(subparsers: Subparsers) -> None:
    parser = add_command(
        subparsers,
        "tune",
        summary="find the fastest configuration of an artifact on this machine, and store it",
        examples=_EXAMPLES,
    )
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument(
        "--goal",
        choices=tuple(GOALS),
        required=True,
        help="latency: the median time of a single text; throughput: texts per second, in bulk",
    )
    parser.add_argument(
        "--min-quality",
        metavar="MEASURE:BOUND",
        type=argument(QualityBudget.parse),
        help="the quality that a choice must keep. Measured here, against fp32: cosine:0.99 (head "
        "embed) or agreement:0.99 (other heads). Read from the quality card: neighbours@10:0.9 or "
        "rank_correlation:0.98, or the points x100 that may be lost, spearman:0.2, accuracy:0.5 or "
        "f1:0.5 (default: only variants that auto may take)",
    )
    parser.add_argument(
        "--texts",
        metavar="FILE",
        help="a .txt, .csv or .jsonl file of texts like those of your service; for the head score "
        "a .csv or .jsonl file of pairs (default: sentences shipped with Lanner)",
    )
    parser.add_argument(
        "--column", default="text", help="the column or key of the texts (default: text)"
    )
    parser.add_argument(
        "--pair-column",
        default="text_pair",
        metavar="COLUMN",
        help="the column or key of the second text of a pair (default: text_pair)",
    )
    parser.add_argument(
        "--threads", type=positive, help="cores to use (default: all that are allowed)"
    )
    parser.add_argument(
        "--device",
        default="auto",
        help="cpu, cuda (an NVIDIA GPU), or auto: the device that lanner.load would choose",
    )
    parser.add_argument(
        "--dry-run", action="store_true", help="measure and show, but store nothing"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    threads = args.threads or available_cores()
    artifact = Artifact.open(args.artifact)
    artifact.verify()
    workload = _workload(args, artifact.manifest.head)
    with steps() as begin:
        tuning = tune(
            artifact,
            workload,
            goal=args.goal,
            threads=threads,
            device=args.device,
            budget=args.min_quality,
            effort=EFFORT,
            tell=_teller(begin),
        )
    choice = _choice(tuning, args)
    stored = None
    try:
        if not args.dry_run:
            stored = store_choice(artifact, choice, threads=threads)
    finally:
        # Show the result even if it cannot be stored: it took minutes to measure.
        if args.json:
            print_json(_to_json(tuning, choice, workload, threads, stored))
        else:
            show(_describe(tuning, choice, workload, args.artifact))
    if stored is not None:
        say(f"stored in {stored}")


def _workload(args: argparse.Namespace, head: str) -> Workload:
    if args.texts is None:
        return Workload.shipped(head, args.goal)
    if HEADS[head].inputs is InputKind.PAIRS:
        pairs = read_pairs(args.texts, columns=(args.column, args.pair_column))
        return Workload.own(pairs, Path(args.texts).name)
    texts = [text for text in read_texts(args.texts, column=args.column) if text.strip()]
    return Workload.own(texts, Path(args.texts).name)


def _teller(begin: Callable[[str], object]) -> Tell:
    """Return a function that shows the current step; in a log once for all its rounds."""
    shown: set[str] = set()

    def tell(step: str) -> None:
        interruption.check()
        what = step.partition(": round ")[0]
        if sys.stderr.isatty() or what not in shown:
            shown.add(what)
            begin(step)

    return tell


def _choice(tuning: Tuning, args: argparse.Namespace) -> Choice:
    found = tuning.of(tuning.choice)
    return Choice(
        tuning.choice,
        goal=args.goal,
        value=_value(found.cost, args.goal),
        speedup=found.speedup.median,
        min_quality=args.min_quality.argument if args.min_quality else "",
        tuned=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    )


def _value(cost: float, goal: str) -> float:
    """Convert seconds per text into the unit of the goal."""
    return cost * 1e3 if goal == "latency" else 1 / cost


def _describe(tuning: Tuning, choice: Choice, workload: Workload, directory: str) -> str:
    unit = GOALS[choice.goal]
    header = ("engine", "variant", "workers", "tokens", unit, "from", "to", "rounds", "speedup", "")
    rows: list[tuple[object, ...]] = [
        (
            one.configuration.engine,
            one.configuration.variant,
            one.configuration.workers,
            one.configuration.token_budget,
            *_figures(one, choice.goal),
            len(one.costs),
            f"{one.speedup.median:.2f}x",
            _remark(one, tuning),
        )
        for one in tuning.measured
    ]
    rows += [
        (one.engine, one.variant, *["-"] * (len(header) - 3), one.reason) for one in tuning.refused
    ]
    chosen = asdict(tuning.choice)
    options = "".join(f", {name}={value!r}" for name, value in chosen.items())
    return "\n".join(
        [
            f"{choice.goal} of {tuning.inputs:,} inputs a round ({workload.source}), medians:",
            table([header, *rows]),
            "",
            _verdict(tuning),
            f"in code: lanner.load({directory!r}{options})",
        ]
    )


def _figures(one: Measured, goal: str) -> list[str]:
    """Return the median, the smallest and the largest of the rounds."""
    values = [_value(cost, goal) for cost in (one.cost, min(one.costs), max(one.costs))]
    form = ",.2f" if goal == "latency" else ",.0f" if values[0] >= 100 else ",.1f"
    middle, *ends = values
    return [format(value, form) for value in (middle, *sorted(ends))]


def _remark(one: Measured, tuning: Tuning) -> str:
    remarks = {"the choice": tuning.choice, "the default": tuning.default}
    return ", ".join(name for name, of in remarks.items() if of == one.configuration)


def _verdict(tuning: Tuning) -> str:
    best = tuning.measured[0] if tuning.measured[0].configuration != tuning.default else None
    if tuning.choice != tuning.default:
        found = tuning.of(tuning.choice)
        return f"the choice: {tuning.choice}: {_times(found)}"
    if best is None or len(best.costs) < len(tuning.of(tuning.default).costs):
        return f"the choice: {tuning.choice}: the default; nothing was faster"
    return (
        f"the choice: {tuning.choice}: the default, because {best.configuration} was "
        f"{_times(best)}, which may be noise"
    )


def _times(one: Measured) -> str:
    return (
        f"{one.speedup.median:.2f}x as fast as the default "
        f"[{one.speedup.low:.2f}, {one.speedup.high:.2f} over {len(one.costs)} rounds]"
    )


def _to_json(
    tuning: Tuning, choice: Choice, workload: Workload, threads: int, stored: Path | None
) -> dict[str, Any]:
    return {
        "choice": choice.to_json(),
        "default": asdict(tuning.default),
        "unit": GOALS[choice.goal],
        "texts": workload.source,
        "inputs": tuning.inputs,
        "measured": [
            {
                **asdict(one.configuration),
                "value": _value(one.cost, choice.goal),
                "rounds": [_value(cost, choice.goal) for cost in one.costs],
                "speedup": asdict(one.speedup),
            }
            for one in tuning.measured
        ],
        "refused": [asdict(one) for one in tuning.refused],
        "machine": machine_key(threads),
        "stored": None if stored is None else str(stored),
    }
