"""Cold start: a fresh process imports, loads and answers once; its files are already in memory."""

from lanner_perf.record.schema import ColdStart
from lanner_perf.subjects.subject import Started, Subject
from lanner_perf.suites.inputs import Inputs, Parts, median
from lanner_perf.suites.roster import Roster, by_name
from lanner_perf.suites.suite_plan import SuitePlan


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Start each subject again while its first process runs, which has already read its files."""

    def start(subject: Subject) -> Started:
        with Subject(subject.spec, roster.threads) as fresh:
            return fresh.started

    rounds: dict[str, list[Started]] = {}
    for turn in range(plan.cold_starts):
        roster.tell(f"cold start: round {turn + 1} of {plan.cold_starts}")
        by_name(roster.each(start), rounds)
    if not rounds:
        return {}
    return {
        subject.name: {"cold_start": cold_start(rounds[subject.name])} for subject in roster.present
    }


def cold_start(starts: list[Started]) -> ColdStart:
    """Return the medians of some starts."""
    rounds = [[start.import_s, start.load_s, start.first_answer_ms] for start in starts]
    import_s, load_s, first_answer_ms = (median(column) for column in zip(*rounds, strict=True))
    return {
        "import_s": import_s,
        "load_s": load_s,
        "first_answer_ms": first_answer_ms,
        "rounds": rounds,
    }
