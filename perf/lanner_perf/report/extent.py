"""The extent of a run of `lanner bench`, from its command line."""

import shlex
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lanner_perf.record.schema import SUITES
from lanner_perf.report.checks import checks_of
from lanner_perf.subjects.workloads import Workloads, build_workloads
from lanner_perf.suites.suite_plan import SuitePlan

#: Texts of each workload in a quick run.
_QUICK_TEXTS = 400


@dataclass(frozen=True)
class Extent:
    """The extent of the measurements.

    Attributes:
        suites: Some of `lanner_perf.record.schema.SUITES`.
        pairs: A CSV of labelled pairs, or None for the sentences that Lanner ships.
        threads: Cores that each subject may use.
        rounds: Rounds of latency and throughput, or None for the plan's.
        is_quick: True to measure less, to try the benchmark.
        command: The command line.
    """

    suites: tuple[str, ...]
    pairs: Path | None
    threads: int
    rounds: int | None
    is_quick: bool
    command: tuple[str, ...]

    def workloads(self) -> Workloads:
        """Return the texts.

        Raises:
            LannerError: The pairs cannot be used.
        """
        workloads = build_workloads(self.pairs)
        if self.is_quick:
            return workloads.shortened(short=_QUICK_TEXTS, mixed=_QUICK_TEXTS)
        return workloads

    def plan(self) -> SuitePlan:
        """Return the durations and repetitions of the suites."""
        size = SuitePlan.quick if self.is_quick else SuitePlan.full
        plan = size(self.threads, self.suites)
        return plan if self.rounds is None else replace(plan, rounds=self.rounds)

    def finish(self, report: dict[str, Any], *, begin_s: float, has_all: bool) -> dict[str, Any]:
        """Add the keys to a report that only the whole run knows.

        Args:
            report: The report.
            begin_s: The beginning of the run, by `time.perf_counter`.
            has_all: True if all peers were measured.
        """
        report["command"] = shlex.join(self.command)
        report["is_quick"] = self.is_quick
        report["is_whole"] = set(self.suites) == set(SUITES) and has_all
        report["whole_s"] = round(time.perf_counter() - begin_s, 1)
        report["checks"] = [check.to_json() for check in checks_of(report)]
        return report
