"""The run of all suites over several subjects, and the report that they add up to."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import ModuleType
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.loading.load import open_tokenizer
from lanner.machine.machine import package_versions, this_machine
from lanner.text.tokenization import TextTokenizer, Tokenizer
from lanner_perf.kinds import PACKAGES
from lanner_perf.kinds.heads import inputs_of
from lanner_perf.record.figures import Row, is_lanner
from lanner_perf.record.schema import SCHEMA, LeftOut
from lanner_perf.subjects.lengths import LengthTexts, make_length_texts
from lanner_perf.subjects.subject import Spec, Subject
from lanner_perf.subjects.workloads import Workloads
from lanner_perf.suites import (
    cold_start,
    concurrency,
    latency,
    memory,
    open_loop,
    quality,
    throughput,
)
from lanner_perf.suites.independence import BATCH_TEXTS
from lanner_perf.suites.inputs import Inputs
from lanner_perf.suites.roster import Roster
from lanner_perf.suites.suite_plan import SuitePlan

SUITES: dict[str, ModuleType] = {
    "memory": memory,
    "latency": latency,
    "throughput": throughput,
    "quality": quality,
    "concurrency": concurrency,
    "open_loop": open_loop,
    "cold_start": cold_start,
}
#: Suites that run only the `leaders`: two dozen subjects would take too long.
OF_LEADERS = ("concurrency", "open_loop", "cold_start")
_OF_VECTORS_ALONE: tuple[LeftOut, ...] = (
    {"name": "quality", "reason": "it compares vectors; quality.json has this head's quality"},
    {"name": "texts by length", "reason": "they are made only for models that return vectors"},
)

Report = dict[str, Any]
Progress = Callable[[str], object]


def measure(
    artifact: Artifact,
    specs: Sequence[Spec],
    workloads: Workloads,
    plan: SuitePlan,
    progress: Progress,
) -> Report:
    """Measure every subject on the same texts with the same threads, in interleaved rounds.

    Timed: a call of `encode` from texts to vectors, tokenization included. Not timed: starting the
    subject (reported by itself), warm-up, choosing the batch size, and moving texts and vectors
    between processes.

    Args:
        artifact: The artifact, whose tokenizer counts the tokens of the workloads.
        specs: The subjects; the others are compared with the first. An optional one that cannot
            start is left out, with its reason in the report. One that fails leaves the suite.
        workloads: The texts.
        plan: The extent.
        progress: Called when a step begins, with the part of the run and the time so far.

    Returns:
        The report as JSON values, with the keys of `lanner_perf.record.schema.Report`.

    Raises:
        SubjectError: A subject that is not optional failed to start, or the first one failed.
    """
    head, left_out = artifact.manifest.head_record, list[LeftOut]()
    if not head.answers_vectors:
        left_out += _OF_VECTORS_ALONE
        plan = replace(plan, lengths=(), suites=_without_quality(plan))
    inputs = _inputs(artifact, inputs_of(workloads, head), plan)
    clock = _Clock(plan, progress)
    rows: dict[str, dict[str, Any]] = {}
    with Roster(specs, plan.threads, clock.tell) as roster:
        clock.end("starting")
        for subject in roster.present:
            rows[subject.name] = _facts(subject)
        environments = _environments(roster.present)
        for suite in (name for name in SUITES if name in plan.suites):
            if suite in OF_LEADERS:
                roster.keep(
                    leaders(list(rows.values())), "others of its kind are faster in bulk and alone"
                )
            roster.begin(suite)
            for name, keys in SUITES[suite].measure(roster, inputs, plan).items():
                rows[name].update(keys)
            clock.end(suite)
        left_out += roster.left_out
    return {
        "schema": SCHEMA,
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": this_machine().to_json(),
        "versions": package_versions(*PACKAGES),
        "environments": environments,
        "threads": plan.threads,
        "rounds": plan.rounds,
        "artifact": artifact.manifest.name,
        "timed": f"{head.methods[0]}, from {head.inputs.value} to {head.noun}, tokenisation "
        "included; medians of the rounds",
        "workloads": {
            name: {
                "texts": len(texts),
                "tokens": inputs.count_tokens(texts),
                "source": workloads.source,
            }
            for name, texts in inputs.workloads.texts.items()
        },
        "suites": [name for name in SUITES if name in plan.suites],
        "subjects": list(rows.values()),
        "left_out": left_out + _lengths_left_out(inputs),
        "random_batches": {"batches": plan.random_batches, "texts": BATCH_TEXTS},
        "seconds": clock.seconds,
    }


def leaders(rows: Sequence[Row]) -> set[str]:
    """Return the names of the reference, Lanner's variants, services, and the fastest of others.

    For each other kind these are the subject with the most short texts a second and the one with
    the lowest p50 of one text. If either was not measured, all names are returned.
    """
    if not all("throughput" in row and "latency_ms" in row for row in rows):
        return {row["name"] for row in rows}
    reference, *others = rows
    found = {reference["name"]}
    found |= {row["name"] for row in others if is_lanner(row) or row["kind"] == "service"}
    for kind in {row["kind"] for row in others}:
        some = [row for row in others if row["kind"] == kind]
        fastest = max(some, key=lambda row: row["throughput"]["short"]["texts_per_s"])
        soonest = min(some, key=lambda row: row["latency_ms"]["p50"])
        found |= {fastest["name"], soonest["name"]}
    return found


def _inputs(artifact: Artifact, workloads: Workloads, plan: SuitePlan) -> Inputs:
    record = artifact.manifest.tokenizer
    tokenizer = open_tokenizer(artifact.file(record.file), artifact.manifest)
    lengths = LengthTexts({}, {})
    if plan.lengths:
        short = workloads.texts["short"]
        lengths = make_length_texts(short, tokenizer, record.max_tokens, plan.lengths)
    return Inputs(workloads, lengths, partial(_count_tokens, tokenizer))


def _count_tokens(tokenizer: TextTokenizer, inputs: Sequence[Any]) -> int:
    """Count the tokens that the model reads; a token in several windows counts in each."""
    if isinstance(tokenizer, Tokenizer) and tokenizer.overlap_tokens:
        return sum(len(window) for windows in tokenizer.windows(inputs) for window in windows)
    if isinstance(tokenizer, Tokenizer) and isinstance(inputs[0], tuple):
        return sum(map(len, tokenizer.encode_pairs(inputs)))
    return sum(map(len, tokenizer.encode(inputs)))


def _without_quality(plan: SuitePlan) -> tuple[str, ...]:
    return tuple(suite for suite in plan.suites if suite != "quality")


def _facts(subject: Subject) -> dict[str, Any]:
    return {
        "name": subject.name,
        "kind": subject.spec.kind,
        "environment": subject.spec.environment,
        **subject.started.facts,
        "cold_start": cold_start.cold_start([subject.started]),
    }


def _environments(subjects: Sequence[Subject]) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = {}
    for subject in subjects:
        found.setdefault(subject.spec.environment, subject.started.versions)
    return found


def _lengths_left_out(inputs: Inputs) -> list[LeftOut]:
    return [
        {"name": f"{tokens} tokens", "reason": reason}
        for tokens, reason in inputs.lengths.left_out.items()
    ]


class _Clock:
    """The clock of the suites: the time of each suite, and of the run so far."""

    def __init__(self, plan: SuitePlan, progress: Progress) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._start = self._begin = time.perf_counter()
        self._suites = 1 + len(plan.suites)  # the first starts the subjects

    def tell(self, step: str) -> None:
        """Report a step, with its part of the run and the time so far.

        The time left is not estimated: the slowest subject takes many times as long as the fastest.
        """
        spent_s = time.perf_counter() - self._start
        spent = f"{spent_s / 60:.0f} min" if spent_s > 90 else f"{spent_s:.0f} s"
        self._progress(f"{step} (part {len(self.seconds) + 1} of {self._suites}, {spent} so far)")

    def end(self, suite: str) -> None:
        """End a suite, or the start of all subjects."""
        now = time.perf_counter()
        self.seconds[suite] = round(now - self._begin, 1)
        self._begin = now
