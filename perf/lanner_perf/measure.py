"""Interleaved rounds over several subjects, and what they add up to."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from lanner.artifact import Artifact
from lanner.machine import package_versions, this_machine
from lanner.similarity import Vectors, normalize
from lanner.tokenization import Tokenizer
from lanner_perf.independence import BATCH_TEXTS, batch_independence, draw_batches
from lanner_perf.kinds import PACKAGES
from lanner_perf.subjects import WARM_UP_TEXTS, Spec, Subject, SubjectError
from lanner_perf.workloads import Workloads, spread

BATCH_SIZES = (8, 16, 32, 64)
PERCENTILES = (50, 95, 99)
_TRIAL_TEXTS = 256

Report = dict[str, Any]
Progress = Callable[[str], object]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        threads: Cores that each subject may use, one subject at a time.
        rounds: Rounds of every measure; the medians are reported.
        latency_texts: Single texts of one latency round.
        random_batches: Batches that batch independence is measured in; 0 leaves it out.
    """

    threads: int
    rounds: int = 3
    latency_texts: int = 300
    random_batches: int = 0


def measure(
    artifact: Artifact, specs: Sequence[Spec], workloads: Workloads, plan: Plan, progress: Progress
) -> Report:
    """Measures every subject on the same texts with the same threads, in interleaved rounds.

    Timed: a call of `encode` from texts to vectors, tokenisation included. Not timed: starting the
    subject (reported by itself), warm-up, choosing the batch size, and moving texts and vectors
    between processes.

    Args:
        artifact: Its tokenizer counts the tokens of the workloads.
        specs: The first is what the others are compared with. An optional one that cannot start is
            left out, with its reason in the report.
        workloads: The texts.
        plan: How much.
        progress: Called when a step begins.

    Returns:
        The report, as JSON values.

    Raises:
        SubjectError: A subject failed that is not optional, or failed after it had started.
    """
    with ExitStack() as stack:
        subjects, left_out = _start(specs, workloads, plan, stack, progress)
        throughput, vectors = _throughput(subjects, workloads, plan, progress)
        latencies = _latencies(subjects, workloads, plan, progress)
        independence = _independence(subjects, workloads, plan, progress)
        rows = [
            {
                "name": subject.spec.name,
                "kind": subject.spec.kind,
                **subject.started.facts,
                "import_s": subject.started.import_s,
                "load_s": subject.started.load_s,
                "first_answer_ms": subject.started.first_answer_ms,
                "peak_rss_mb": subject.peak_rss_mb(),
                "latency_ms": latencies[index],
                "throughput": throughput[index],
                "quality": _quality(vectors[index], vectors[0], workloads) | independence[index],
            }
            for index, subject in enumerate(subjects)
        ]
    tokens = _tokens(artifact, workloads)
    for row in rows:
        for workload, figures in row["throughput"].items():
            count = len(workloads.texts[workload])
            figures["tokens_per_s"] = figures["texts_per_s"] * tokens[workload] / count
    return {
        "created": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "machine": this_machine().to_json(),
        "versions": package_versions(*PACKAGES),
        "peers_versions": next(
            (s.started.versions for s in subjects if s.spec.python != sys.executable), {}
        ),
        "threads": plan.threads,
        "rounds": plan.rounds,
        "artifact": artifact.manifest.name,
        "timed": "encode, from texts to vectors, tokenisation included; medians of the rounds",
        "workloads": {
            name: {"texts": len(texts), "tokens": tokens[name], "source": workloads.source}
            for name, texts in workloads.texts.items()
        },
        "random_batches": {"batches": plan.random_batches, "texts": BATCH_TEXTS},
        "subjects": rows,
        "left_out": left_out,
    }


def _start(
    specs: Sequence[Spec],
    workloads: Workloads,
    plan: Plan,
    stack: ExitStack,
    progress: Progress,
) -> tuple[list[Subject], list[Report]]:
    subjects, left_out = [], []
    for spec in specs:
        progress(f"starting {spec.name}")
        try:
            subject = stack.enter_context(Subject(spec, plan.threads))
            for texts in workloads.texts.values():
                subject.encode(texts[:WARM_UP_TEXTS])
        except SubjectError as error:
            if not spec.is_optional:
                raise
            left_out.append({"name": spec.name, "reason": str(error)})
        else:
            subjects.append(subject)
    return subjects, left_out


def _throughput(
    subjects: Sequence[Subject], workloads: Workloads, plan: Plan, progress: Progress
) -> tuple[list[Report], list[Vectors]]:
    figures: list[Report] = [{} for _ in subjects]
    short_vectors: list[Vectors] = []
    for workload, texts in workloads.texts.items():
        trial = spread(texts, _TRIAL_TEXTS)
        progress(f"{workload}: best batch size of each")
        for subject in subjects:
            subject.batch_size = min(BATCH_SIZES, key=lambda size: subject.encode(trial, size)[0])
        rates: list[list[float]] = [[] for _ in subjects]
        for turn in range(plan.rounds):
            progress(f"{workload}: round {turn + 1} of {plan.rounds}")
            for index, subject in enumerate(subjects):
                seconds, vectors = subject.encode(texts)
                rates[index].append(len(texts) / seconds)
                if workload == "short" and turn == 0:
                    short_vectors.append(vectors)
        for index, subject in enumerate(subjects):
            figures[index][workload] = {
                "texts_per_s": float(np.median(rates[index])),
                "rounds": rates[index],
                "batch_size": subject.batch_size,
            }
    return figures, short_vectors


def _latencies(
    subjects: Sequence[Subject], workloads: Workloads, plan: Plan, progress: Progress
) -> list[Report]:
    texts = spread(workloads.texts["short"], plan.latency_texts)
    rounds: list[list[list[float]]] = [[] for _ in subjects]
    for subject in subjects:
        subject.latencies_ms(texts[:WARM_UP_TEXTS])
    for turn in range(plan.rounds):
        progress(f"latency: round {turn + 1} of {plan.rounds}")
        for index, subject in enumerate(subjects):
            latencies = subject.latencies_ms(texts)
            rounds[index].append([float(p) for p in np.percentile(latencies, PERCENTILES)])
    medians = [np.median(np.array(turns), axis=0) for turns in rounds]
    return [
        {
            **{f"p{p}": float(m) for p, m in zip(PERCENTILES, median, strict=True)},
            "rounds": turns,
        }
        for median, turns in zip(medians, rounds, strict=True)
    ]


def _independence(
    subjects: Sequence[Subject], workloads: Workloads, plan: Plan, progress: Progress
) -> list[Report]:
    if not plan.random_batches:
        return [{} for _ in subjects]
    draw = draw_batches(workloads, plan.random_batches)
    figures = []
    for subject in subjects:
        progress(f"batch independence: {subject.spec.name}")
        figures.append({"batch_independence_cosine": batch_independence(subject, draw)})
    return figures


def _quality(vectors: Vectors, reference: Vectors, workloads: Workloads) -> Report:
    unit = normalize(vectors)
    cosines = (unit * normalize(reference)).sum(axis=1)
    quality = {"cosine_min": float(cosines.min()), "cosine_mean": float(cosines.mean())}
    if workloads.pairs is not None and len(set(workloads.pairs.scores)) > 1:
        left, right = np.split(unit, 2)
        gold = workloads.pairs.scores
        quality["spearman"] = float(100 * spearmanr((left * right).sum(axis=1), gold).statistic)
    return quality


def _tokens(artifact: Artifact, workloads: Workloads) -> dict[str, int]:
    record = artifact.manifest.tokenizer
    tokenizer = Tokenizer(artifact.file(record.file), record)
    return {name: sum(map(len, tokenizer.encode(texts))) for name, texts in workloads.texts.items()}
