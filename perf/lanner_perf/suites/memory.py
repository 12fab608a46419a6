"""Memory: the resident memory of the subject's process after each step of its life.

This suite runs first, so that no other suite has encoded texts before.
"""

from lanner.tune.workload import spread
from lanner_perf.record.schema import Memory
from lanner_perf.subjects.subject import Subject
from lanner_perf.suites.inputs import Inputs, Parts
from lanner_perf.suites.roster import Roster
from lanner_perf.suites.suite_plan import SuitePlan

_BATCH_SIZE = 32
#: The texts of each workload for each second of a throughput round.
_TEXTS_A_SECOND = {"short": 100, "mixed": 25}


def measure(roster: Roster, inputs: Inputs, plan: SuitePlan) -> Parts:
    """Measure after the imports, after loading, and after a call with each workload."""
    texts = [
        spread(texts, max(1, int(_TEXTS_A_SECOND[name] * plan.throughput_s)))
        for name, texts in inputs.workloads.texts.items()
    ]

    def memory(subject: Subject) -> Memory:
        for workload in texts:
            subject.rate(workload, _BATCH_SIZE)
        after_mb, peak_mb = subject.memory_mb()
        return {
            "imported_mb": subject.started.imported_mb,
            "loaded_mb": subject.started.loaded_mb,
            "after_mb": after_mb,
            "peak_mb": peak_mb,
        }

    roster.tell("memory after the workloads")
    return {name: {"memory": found} for name, found in roster.each(memory)}
