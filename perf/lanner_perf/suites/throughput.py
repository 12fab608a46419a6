"""Throughput: many texts in one call, each subject at its best batch size."""

from collections.abc import Sequence
from functools import partial

from lanner.tune.workload import spread
from lanner_perf.record.schema import Throughput
from lanner_perf.subjects.subject import Subject
from lanner_perf.suites.inputs import Inputs, Parts, fitting, median, repeated
from lanner_perf.suites.roster import Roster, by_name
from lanner_perf.suites.suite_plan import SuitePlan

BATCH_SIZES = (8, 16, 32, 64)
_SIZES_BY_LENGTH = (8, 32)
_PROBE_TEXTS, _LEAST_TEXTS, _MOST_TRIAL_TEXTS = 16, 16, 256
#: A fast subject takes at least 1/N of a round's time. N for texts by length, and for natural
#: texts.
_PARTS = (2, 4)


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure short and mixed texts, and texts by their length in tokens."""
    counts = {"short": plan.bulk_texts}
    natural = {
        workload: _throughput(
            roster, inputs, plan, texts, f"{workload} texts", count=counts.get(workload)
        )
        for workload, texts in inputs.workloads.texts.items()
    }
    by_length = {
        str(tokens): _throughput(
            roster, inputs, plan, texts, f"texts of {tokens} tokens", is_natural=False
        )
        for tokens, texts in inputs.lengths.texts.items()
    }
    return {
        subject.name: {
            "throughput": {name: found[subject.name] for name, found in natural.items()},
            "throughput_by_length": {
                tokens: found[subject.name] for tokens, found in by_length.items()
            },
        }
        for subject in roster.present
    }


def _throughput(
    roster: Roster,
    inputs: Inputs,
    plan: SuitePlan,
    texts: list[str],
    what: str,
    *,
    is_natural: bool = True,
    count: int | None = None,
) -> dict[str, Throughput]:
    """Measure all subjects with the same texts: `count`, or as many as the slowest can encode.

    The slowest subject encodes them once in a round; a faster one repeats them, so that its round
    is long enough to measure. Before each turn a subject encodes a few texts untimed, because other
    subjects ran meanwhile.
    """
    seconds = plan.throughput_s if is_natural else plan.throughput_by_length_s
    least_s = seconds / _PARTS[is_natural]
    roster.tell(f"{what}: best batch size of each")
    probe = spread(texts, _PROBE_TEXTS)
    # With fewer texts some workers would have no batch.
    least = max(_LEAST_TEXTS, plan.call_tokens * len(probe) // inputs.count_tokens(probe))
    texts = texts if is_natural else repeated(texts, max(least, len(texts)))
    speeds = dict(roster.each(lambda subject: subject.rate(probe, max(BATCH_SIZES))))
    if count is None:
        texts = fitting(texts, min(speeds.values()), seconds, least=least)
    else:
        texts = repeated(texts, count)

    def rate(subject: Subject) -> float:
        subject.rate(probe, best[subject.name])
        return subject.rate(texts, best[subject.name], least_s)

    best = dict(
        roster.each(
            lambda subject: _best_batch_size(
                subject,
                fitting(texts, speeds[subject.name], least_s, least=least),
                BATCH_SIZES if is_natural else _SIZES_BY_LENGTH,
            )
        )
    )
    rounds: dict[str, list[float]] = {}
    for turn in range(plan.rounds):
        roster.tell(f"{what}: round {turn + 1} of {plan.rounds}")
        by_name(roster.each(rate), rounds)
    tokens = inputs.count_tokens(texts) / len(texts)
    return {
        subject.name: {
            "texts_per_s": median(rounds[subject.name]),
            "tokens_per_s": median(rounds[subject.name]) * tokens,
            "batch_size": best[subject.name],
            "texts": len(texts),
            "rounds": rounds[subject.name],
        }
        for subject in roster.present
    }


def _best_batch_size(subject: Subject, texts: list[str], sizes: Sequence[int]) -> int:
    trial = spread(texts, _MOST_TRIAL_TEXTS)
    # A batch size above the number of texts would measure the same batch again.
    sizes = [size for size in sizes if size <= len(trial)] or sizes[:1]
    return max(sizes, key=partial(subject.rate, trial))
