"""A simulated job over a large corpus on many nodes: its time, its skew, its cost, its losses.

    python -m lanner_perf.elastic.batch_job --from bench.json

The time of a text is that of a measured result. The unit of work is a fragment, as in
`lanner.distributed`: a worker that is free takes the next one. Texts come from sources whose mean
lengths differ, and the texts of a fragment come from one source, as files do.
"""

import argparse
import heapq
import json
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.bounded import parse_json
from lanner.commands.options import positive
from lanner_perf.elastic.service_time import of_report

Floats = NDArray[np.float64]
_SEED = 0
#: Texts whose lengths stand for all of a source.
_SAMPLED_TEXTS = 512
#: The spread of the mean lengths of sources, and of the lengths within one (sigma of a log-normal
#: distribution). Together they are 0.9, as in the benchmarks' mix of lengths.
_BETWEEN, _WITHIN = 0.7, 0.57


@dataclass(frozen=True)
class Cluster:
    """The workers of a job.

    Attributes:
        workers: Their number.
        cores: The cores of each.
        start_s: Seconds until a worker has loaded its model.
        serial_s_per_row: Seconds of a row in which one core of a worker is busy, and the others
            wait: reading, and writing.
        failures_per_hour: How often a worker dies in an hour.
        back_s: Seconds until another one is in its place.
        seed: The seed of the failures.
    """

    workers: int
    cores: int = 1
    start_s: float = 0.0
    serial_s_per_row: float = 0.0
    failures_per_hour: float = 0.0
    back_s: float = 60.0
    seed: int = _SEED

    def seconds(self, core_s: Floats, rows: Floats) -> Floats:
        """Return the seconds that a worker takes for each fragment."""
        return core_s / self.cores + rows * self.serial_s_per_row


@dataclass(frozen=True)
class Outcome:
    """The result of a simulated job.

    Attributes:
        hours: From the start to the end of the last worker.
        skew: `hours` over the mean hours in which a worker was busy.
        worker_hours: The hours of all workers, idle ones included: they are paid for.
        longest_fragment_s: Seconds of the longest fragment.
        fragments: The number of fragments.
        deaths: The number of workers that died.
        lost_share: The share of the work that was lost with them.
    """

    hours: float
    skew: float
    worker_hours: float
    longest_fragment_s: float
    fragments: int
    deaths: int
    lost_share: float


def by_queue(seconds: Sequence[float], cluster: Cluster) -> Outcome:
    """Return the outcome when a worker that is free takes the next fragment.

    The fragment of a worker that dies is repeated, behind the others.

    Args:
        seconds: The seconds of each fragment on a worker, in their order.
        cluster: The workers.
    """
    chance = np.random.default_rng(cluster.seed)
    mean_s = 3600 / cluster.failures_per_hour if cluster.failures_per_hour else np.inf

    def life_s() -> float:
        return float(chance.exponential(mean_s)) if np.isfinite(mean_s) else np.inf

    waiting = deque(seconds)
    # The time at which a worker is free, and the one at which it dies.
    free = [(cluster.start_s, life_s()) for _ in range(cluster.workers)]
    heapq.heapify(free)
    end_s = lost_s = 0.0
    deaths = 0
    while waiting:
        at_s, dies_at_s = heapq.heappop(free)
        spent_s = waiting.popleft()
        if at_s + spent_s > dies_at_s:
            deaths += 1
            lost_s += max(0.0, dies_at_s - at_s)
            waiting.append(spent_s)
            again_s = max(at_s, dies_at_s) + cluster.back_s + cluster.start_s
            heapq.heappush(free, (again_s, again_s + life_s()))
            continue
        end_s = max(end_s, at_s + spent_s)
        heapq.heappush(free, (at_s + spent_s, dies_at_s))
    work_s = float(sum(seconds))
    return Outcome(
        hours=end_s / 3600,
        skew=(end_s - cluster.start_s) * cluster.workers / work_s,
        worker_hours=end_s * cluster.workers / 3600,
        longest_fragment_s=max(seconds),
        fragments=len(seconds),
        deaths=deaths,
        lost_share=lost_s / work_s,
    )


def by_share(seconds: Sequence[float], cluster: Cluster) -> Outcome:
    """Return the outcome when each worker gets as many fragments as any other, in their order."""
    parts = np.array_split(np.asarray(seconds), cluster.workers)
    longest_s = max(float(part.sum()) for part in parts)
    end_s = cluster.start_s + longest_s
    return Outcome(
        hours=end_s / 3600,
        skew=longest_s * cluster.workers / float(np.sum(seconds)),
        worker_hours=end_s * cluster.workers / 3600,
        longest_fragment_s=max(seconds),
        fragments=len(seconds),
        deaths=0,
        lost_share=0.0,
    )


@dataclass(frozen=True)
class Corpus:
    """Texts of many sources.

    Attributes:
        tokens: Sampled lengths: float64 [sources, texts].
        texts: The number of texts of each source.
        core_s: Core seconds of a text of each source, on average.
    """

    tokens: Floats
    texts: int
    core_s: Floats

    @classmethod
    def of(
        cls,
        texts: int,
        sources: int,
        *,
        mean_tokens: float,
        most_tokens: int,
        per_core: Callable[[float], float],
        seed: int = _SEED,
    ) -> "Corpus":
        """Draw a corpus.

        Args:
            texts: The number of texts of all sources.
            sources: The number of sources, equally many texts each.
            mean_tokens: The mean length, before texts are cut.
            most_tokens: Texts are cut there.
            per_core: Returns the texts of a length that a core answers in a second.
            seed: The seed.
        """
        chance = np.random.default_rng(seed)
        means = np.exp(chance.normal(0, _BETWEEN, (sources, 1)))
        lengths = means * np.exp(chance.normal(0, _WITHIN, (sources, _SAMPLED_TEXTS)))
        lengths *= mean_tokens / lengths.mean()
        lengths = np.clip(lengths, 3, most_tokens).round()
        known = {length: 1 / per_core(length) for length in np.unique(lengths).tolist()}
        core_s = np.vectorize(known.__getitem__)(lengths).mean(axis=1)
        return cls(lengths, texts // sources, core_s)

    def by_rows(self, rows: int) -> tuple[Floats, Floats]:
        """Return the core seconds and the rows of fragments with as many rows each."""
        count = max(1, round(self.texts / rows))
        size = self.texts / count
        return np.repeat(self.core_s * size, count), np.full(len(self.core_s) * count, size)

    def by_tokens(self, tokens: float) -> tuple[Floats, Floats]:
        """Return the core seconds and the rows of fragments with about as many tokens each."""
        means = self.tokens.mean(axis=1)
        counts = np.maximum(1, np.round(means * self.texts / tokens)).astype(np.int64)
        sizes = self.texts / counts
        return np.repeat(self.core_s * sizes, counts), np.repeat(sizes, counts)


def report(
    corpus: Corpus, cluster: Cluster, *, fragment_rows: int, price_per_core_hour: float
) -> dict[str, dict[str, float]]:
    """Return the outcomes of the ways to cut and to hand out a corpus."""
    mean_tokens = float(corpus.tokens.mean())
    equal_rows = corpus.by_rows(fragment_rows)
    equal_tokens = corpus.by_tokens(fragment_rows * mean_tokens)
    found = {}
    for name, (core_s, rows), run in (
        ("fragments of equal rows, by queue", equal_rows, by_queue),
        ("fragments of equal tokens, by queue", equal_tokens, by_queue),
        ("equal rows, the same number to each node", equal_rows, by_share),
        ("equal tokens, the same number to each node", equal_tokens, by_share),
        ("one fragment a source, by queue", corpus.by_rows(corpus.texts), by_queue),
    ):
        outcome = run(cluster.seconds(core_s, rows).tolist(), cluster)
        cost = outcome.worker_hours * cluster.cores * price_per_core_hour
        found[name] = {**asdict(outcome), "cost": cost}
    return found


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    content = parse_json(args.report.read_bytes())
    subject, times = of_report(content, args.subject)
    corpus = Corpus.of(
        args.texts,
        args.sources,
        mean_tokens=args.mean_tokens,
        most_tokens=args.most_tokens,
        per_core=times.per_core,
    )
    cluster = Cluster(
        args.nodes,
        args.cores,
        start_s=args.start_s,
        serial_s_per_row=args.serial_us_per_row / 1e6,
        failures_per_hour=args.failures_per_hour,
    )
    found = {
        "subject": subject,
        "mean_tokens": float(corpus.tokens.mean()),
        "core_hours": float(corpus.core_s.sum() * corpus.texts / 3600),
        "outcomes": report(
            corpus,
            cluster,
            fragment_rows=args.fragment_rows,
            price_per_core_hour=args.price_per_core_hour,
        ),
    }
    sys.stdout.write(json.dumps(found, indent=1) + "\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--from", dest="report", type=Path, required=True, help="of lanner bench")
    parser.add_argument("--subject", help="the name of a subject of the result")
    parser.add_argument("--texts", type=positive, default=10**9)
    parser.add_argument("--sources", type=positive, default=1_000)
    parser.add_argument("--mean-tokens", type=float, default=70.0)
    parser.add_argument("--most-tokens", type=positive, default=256)
    parser.add_argument("--fragment-rows", type=positive, default=65_536)
    parser.add_argument("--nodes", type=positive, default=64)
    parser.add_argument("--cores", type=positive, default=16)
    parser.add_argument("--start-s", type=float, default=10.0)
    parser.add_argument("--serial-us-per-row", type=float, default=0.0)
    parser.add_argument("--failures-per-hour", type=float, default=0.0, help="of a node")
    parser.add_argument("--price-per-core-hour", type=float, default=0.04)
    return parser


if __name__ == "__main__":
    main()
