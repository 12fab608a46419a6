"""The plan of the suites: durations and repetitions."""

from dataclasses import dataclass
from typing import Self

from lanner_perf.record.schema import SUITES
from lanner_perf.subjects.lengths import LENGTHS

CALLERS = (1, 2, 4, 8, 16, 32, 64)
#: Rates of arrival, as multiples of the reference's texts a second in bulk.
LOADS = (0.25, 0.5, 1.0, 2.0, 4.0)

#: Speed, memory and quality, without the suites that take longest.
BASIC_SUITES = ("memory", "latency", "throughput", "quality")


@dataclass(frozen=True)
class SuitePlan:
    """The extent of each suite.

    A duration is for one subject in one round. A slow subject may take twice as long, because all
    subjects get the same texts, as many as the slowest answers in that time.

    Attributes:
        threads: Cores that each subject may use; one subject runs at a time.
        suites: Some of `lanner_perf.record.schema.SUITES`.
        rounds: Rounds of latency and throughput; the medians are reported.
        latency_texts: Most single texts of one latency round.
        latency_s: Duration of a latency round; those by length take a quarter of it.
        throughput_s: Duration of a throughput round.
        throughput_by_length_s: Duration of a throughput round with texts of one length.
        call_tokens: The fewest tokens of a call that measures throughput.
        bulk_texts: The texts of a call that measures throughput of short texts; fewer texts are
            repeated. None for as many as the slowest encodes in a round.
        lengths: The numbers of tokens of the measures by length.
        callers: The numbers of concurrent callers.
        loads: Rates of arrival in the open loop, in multiples of the reference's texts a second in
            bulk.
        point_s: Duration of a round with one number of callers, or one rate of arrival.
        point_rounds: The number of such rounds.
        cold_starts: Fresh processes for each subject.
        random_batches: Batches for measuring batch independence; 0 leaves it out.
    """

    threads: int
    suites: tuple[str, ...] = SUITES
    rounds: int = 3
    latency_texts: int = 300
    latency_s: float = 1.0
    throughput_s: float = 3.0
    throughput_by_length_s: float = 0.3
    call_tokens: int = 4_096
    bulk_texts: int | None = None
    lengths: tuple[int, ...] = LENGTHS
    callers: tuple[int, ...] = CALLERS
    loads: tuple[float, ...] = LOADS
    point_s: float = 1.0
    point_rounds: int = 2
    cold_starts: int = 2
    random_batches: int = 0

    @classmethod
    def full(cls, threads: int, suites: tuple[str, ...] = SUITES) -> Self:
        """Return the plan for everything: under 25 minutes for two dozen subjects on two cores.

        Without the suites that take longest, there is time for more random batches.
        """
        batches = 200 if set(suites) <= set(BASIC_SUITES) else 15
        return cls(threads, suites, random_batches=batches)

    @classmethod
    def quick(cls, threads: int, suites: tuple[str, ...] = SUITES) -> Self:
        """Return a plan of one short round with fewer points: under 3 minutes for ten subjects."""
        return cls(
            threads,
            suites,
            rounds=1,
            latency_texts=50,
            latency_s=0.4,
            throughput_s=1.0,
            throughput_by_length_s=0.1,
            call_tokens=2_048,
            lengths=(16, 128),
            callers=(1, 16),
            loads=(0.5, 2.0),
            point_s=0.4,
            point_rounds=1,
            cold_starts=0,
            random_batches=5,
        )
