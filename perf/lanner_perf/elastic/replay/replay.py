"""The replay of a load curve over real processes, beside its simulation."""

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lanner_perf.elastic.autoscaler import Autoscaler, Scaling
from lanner_perf.elastic.load_curve import LoadCurve
from lanner_perf.elastic.replay.clients import Answers, Clients
from lanner_perf.elastic.replay.pods import Pace, Pods, require_faultless
from lanner_perf.elastic.replay.proxy import proxying
from lanner_perf.elastic.replay.watcher import Watcher, watching
from lanner_perf.elastic.service_time import ServiceTime
from lanner_perf.elastic.simulator import Observation, Outcome, PodKind, Simulation

_SEED = 20_261_201


@dataclass(frozen=True)
class Day:
    """A day that is replayed.

    Attributes:
        artifact: The artifact that the pods serve.
        pace: The pace of their engines.
        curve: The load, in seconds of the replay.
        scaling: The autoscaler's values, for the clock of the replay.
        texts: The texts, of which each request has one.
        lengths: Their numbers of tokens.
        window_s: Seconds over which the busy share is averaged.
        scrape_s: Seconds between two scrapes.
    """

    artifact: Path
    pace: Pace
    curve: LoadCurve
    scaling: Scaling
    texts: Sequence[str]
    lengths: Sequence[int]
    window_s: float = 4.0
    scrape_s: float = 0.5


@dataclass(frozen=True)
class Replayed:
    """A replay and its simulation.

    Attributes:
        outcome: What happened.
        simulated: What the simulation says of the same load.
        starts_s: Seconds from start to readiness of each pod.
        request_ms: Milliseconds of a request beside its batch, measured on an idle pod.
        reasons: Why requests were lost.
        faults: What went wrong with pods.
    """

    outcome: Outcome
    simulated: Outcome
    starts_s: Sequence[float]
    request_ms: float
    reasons: Sequence[str]
    faults: Sequence[str] = ()


def replay(day: Day, directory: Path) -> Replayed:
    """Replay a day, and simulate it with the measured start and service times.

    Args:
        day: The day.
        directory: A directory for files of the programs.

    Raises:
        BenchmarkError: A program is missing or failed.
    """
    scaling = day.scaling
    with (
        proxying(directory, scaling.most * 2) as proxy,
        watching(directory, window_s=day.window_s, scrape_s=day.scrape_s) as watcher,
    ):
        pods = Pods(day.artifact, day.pace, proxy, directory)
        try:
            pods.scale(scaling.least)
            _wait_for(pods, scaling.least)
            require_faultless(pods)
            request_ms = _measure(proxy.port, day)
            outcome, reasons = _run(day, pods, watcher, proxy.port)
        finally:
            pods.close()
    simulated = simulate(day, pods.starts_s, request_ms)
    return Replayed(outcome, simulated, pods.starts_s, request_ms, reasons, pods.faults)


def simulate(day: Day, starts_s: Sequence[float], request_ms: float, seed: int = _SEED) -> Outcome:
    """Return what the simulation says of a day with measured times."""
    tokens = sorted(set(day.lengths))
    times = ServiceTime([(one, one * day.pace.token_ms) for one in tokens], day.pace.run_ms)
    kind = PodKind(times, 1, day.pace.most_tokens, float(np.mean(starts_s)))
    # A scrape is on average half its period old.
    observation = Observation(day.window_s, day.scrape_s / 2)
    simulation = Simulation(kind, day.scaling, pods=day.scaling.least, observation=observation)
    found = simulation.run(day.curve, day.lengths, seed)
    found.latency_ms += request_ms
    return found


def _wait_for(pods: Pods, number: int) -> None:
    while len(pods.ready()) < number and not pods.faults:
        time.sleep(0.05)


def _measure(port: int, day: Day) -> float:
    """Return milliseconds of a request beside its batch, the median of requests one by one."""
    tokens, text = max(zip(day.lengths, day.texts, strict=True))
    batch_ms = day.pace.run_ms + day.pace.token_ms * tokens
    arrivals_s = [number * 4 * batch_ms / 1e3 for number in range(20)]
    texts = [text] * len(arrivals_s)
    found = asyncio.run(Clients(port).run(arrivals_s, texts, time.monotonic()))
    return float(np.median([latency_ms for _, latency_ms in found.answered])) - batch_ms


def _run(day: Day, pods: Pods, watcher: Watcher, port: int) -> tuple[Outcome, list[str]]:
    generator = np.random.default_rng(_SEED)
    arrivals_s = day.curve.arrivals_s(generator)
    texts = [day.texts[one] for one in generator.integers(len(day.texts), size=len(arrivals_s))]
    answers: list[Answers] = []
    begin_s = time.monotonic()

    def ask() -> None:
        answers.append(asyncio.run(Clients(port).run(arrivals_s.tolist(), texts, begin_s)))

    clients = threading.Thread(target=ask)
    clients.start()
    ready, asked = _control(day, pods, watcher, begin_s)
    clients.join()
    (found,) = answers
    done = np.array(found.answered or np.zeros((0, 2)), np.float64)
    outcome = Outcome(
        done[:, 0],
        done[:, 1],
        found.refused_s,
        len(found.lost),
        ready,
        asked,
        day.curve.seconds,
    )
    return outcome, found.lost


def _control(
    day: Day, pods: Pods, watcher: Watcher, begin_s: float
) -> tuple[list[tuple[float, int]], list[tuple[float, int]]]:
    """Scale the pods until the end of the curve; return the ready and the asked for over time."""
    autoscaler, wanted = Autoscaler(day.scaling), day.scaling.least
    ready, asked = [(0.0, len(pods.ready()))], [(0.0, wanted)]
    next_s = day.scaling.sync_s
    watcher.watch({one.name: one.port for one in pods.alive()})
    while (now_s := time.monotonic() - begin_s) < day.curve.seconds:
        if now_s >= next_s:
            next_s += day.scaling.sync_s
            busy = watcher.busy()
            metrics = {one.name: busy.get(one.name) for one in pods.alive()}
            decided = autoscaler.decide(now_s, wanted, metrics)
            if decided != wanted:
                wanted = decided
                asked.append((now_s, wanted))
                pods.scale(wanted)
                watcher.watch({one.name: one.port for one in pods.alive()})
        number = len(pods.ready())
        if number != ready[-1][1]:
            ready.append((now_s, number))
        time.sleep(0.05)
    return ready, asked
