"""Finds the fastest way to run an artifact on this machine; `lanner.loading.tuned` stores it.

Every configuration is timed once, the better half once more, the best few in turn with the default,
and at last the best of them against the default alone (successive halving). What is not faster than
the default beyond the noise of that last contest is not chosen.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import median
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.budget import Budget
from lanner.artifact.manifest import Variant
from lanner.errors import EngineError, VariantError
from lanner.loading.configuration import Configuration
from lanner.models.base import Model
from lanner.tune.floor import QualityFloor
from lanner.tune.rounds import Costs, Rounds, Tell
from lanner.tune.speedup import Speedup, fastest
from lanner.tune.workload import Workload, spread

_FEWEST_INPUTS = 32
#: Batches a worker of the largest token budget, so that none ends long after the others.
_BATCHES_A_WORKER = 4
#: What takes more than so many times as long as the fastest is not timed again.
_HOPELESS = 2


@dataclass(frozen=True)
class Effort:
    """The effort of a search: what is tried, and how many rounds are timed.

    Attributes:
        token_budgets: Those that are tried beside the default's, on a CPU.
        gpu_token_budgets: The same on a GPU.
        most_worker_counts: How many numbers of workers are tried.
        least_round_s: How long a round of the default takes about, at least.
        most_round_s: And at most, where fewer texts fill the batches less well; at least 32 texts.
        most_inputs: The most texts of a round.
        finalists: How many are timed in turn with the default.
        middle_rounds: Rounds of these.
        last_rounds: Rounds of the best and the default.
    """

    token_budgets: tuple[int, ...] = (256, 512, 1024, 2048)
    gpu_token_budgets: tuple[int, ...] = (4_096, 8_192, 16_384, 32_768)
    most_worker_counts: int = 5
    least_round_s: float = 0.3
    most_round_s: float = 2.0
    most_inputs: int = 8_192
    finalists: int = 4
    middle_rounds: int = 5
    last_rounds: int = 9


@dataclass(frozen=True)
class Refused:
    """A variant and engine that was not measured, with the reason."""

    engine: str
    variant: str
    reason: str


@dataclass(frozen=True)
class Measured:
    """The measurements of one configuration in the last stage that it reached.

    Attributes:
        configuration: How the artifact was run.
        costs: Seconds a text of each round; for latency the median over the texts.
        speedup: Against the default in the same rounds.
    """

    configuration: Configuration
    costs: Sequence[float]
    speedup: Speedup

    @property
    def cost(self) -> float:
        """The median of the rounds."""
        return median(self.costs)


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    Attributes:
        default: The plain default; or, where it is below the quality floor, that of what is not.
        choice: The fastest; `default` where nothing is faster beyond the noise.
        measured: Every configuration, the fastest of the last stage first.
        refused: What is below the quality floor, or cannot be run.
        inputs: Texts or pairs of a round.
    """

    default: Configuration
    choice: Configuration
    measured: list[Measured]
    refused: list[Refused]
    inputs: int

    def of(self, configuration: Configuration) -> Measured:
        """Return the measurements of one configuration."""
        return next(one for one in self.measured if one.configuration == configuration)


def tune(
    artifact: Artifact,
    workload: Workload,
    *,
    goal: str,
    threads: int,
    device: str = "auto",
    budget: Budget | None = None,
    effort: Effort | None = None,
    tell: Tell = lambda _step, _left_s: None,
) -> Tuning:
    """Find the fastest configuration of an artifact on this machine.

    Args:
        artifact: What is run.
        workload: The texts.
        goal: ``"latency"``: the median of one text alone, and ``"throughput"``: many texts at once,
            both from text to answer.
        threads: Cores to use.
        device: Where it runs; ``"auto"`` for where `lanner.load` would run it.
        budget: The quality floor; see `lanner.tune.floor`.
        effort: How much is measured; None for the usual, a minute or two of a small model.
        tell: Told as work goes on.

    Raises:
        UnsupportedError: The floor has nothing to be measured by.
        VariantError: Nothing meets the floor, or no variant is safe on this machine.
        EngineError: The default could not be run.
    """
    effort = effort or Effort()
    default = Configuration.default(artifact, threads=threads, device=device)
    if default.device == "cuda":
        effort = replace(effort, token_budgets=effort.gpu_token_budgets)
    floor = QualityFloor(artifact, budget, workload.probes, threads=threads, device=default.device)
    admitted, refused = _judged(floor, tell)
    _require_some(admitted, refused, floor)
    default = _admitted_default(default, admitted)
    candidates = _grid(default, admitted, goal, threads, effort)
    rounds = Rounds(artifact, goal=goal, threads=threads, tell=tell)
    round_s = _size(rounds, workload, default, effort)
    to_come = math.ceil(len(candidates) * 1.5) + (1 + effort.finalists) * effort.middle_rounds
    rounds.plan(to_come + 2 * effort.last_rounds, round_s)
    return _contest(rounds, default, candidates, refused, effort)


def _judged(floor: QualityFloor, tell: Tell) -> tuple[list[tuple[str, Variant]], list[Refused]]:
    admitted, refused = [], []
    for engine, variant in floor.candidates:
        tell(f"quality of {variant.name} in {engine}", None)
        if reason := floor.refusal(engine, variant):
            refused.append(Refused(engine, variant.name, reason))
        else:
            admitted.append((engine, variant))
    return admitted, refused


def _require_some(
    admitted: list[tuple[str, Variant]], refused: list[Refused], floor: QualityFloor
) -> None:
    if not admitted:
        budget = "" if floor.budget is None else f" for {floor.budget.argument}"
        reasons = "; ".join(f"{one.variant} in {one.engine}: {one.reason}" for one in refused)
        msg = (
            f"no variant of {floor.artifact.directory} may be chosen{budget} on this machine "
            f"({reasons}): ask for less with --min-quality, or export a better variant"
        )
        raise VariantError(msg)


def _admitted_default(default: Configuration, admitted: list[tuple[str, Variant]]) -> Configuration:
    found = [(engine, variant.name) for engine, variant in admitted]
    if (default.engine, default.variant) in found:
        return default
    engine, variant = found[0]
    return replace(default, engine=engine, variant=variant)


def _size(rounds: Rounds, workload: Workload, default: Configuration, effort: Effort) -> float:
    """Makes a round as long as the effort says, and returns about how many seconds that is."""
    (model,) = rounds.open([default]).values()
    few = workload.sample(_FEWEST_INPUTS)
    rounds.cost(model, few)
    start = time.perf_counter()
    rounds.cost(model, few)
    input_s = (time.perf_counter() - start) / len(few)
    count = effort.least_round_s / input_s
    if rounds.goal == "throughput":
        tokens = _BATCHES_A_WORKER * max(effort.token_budgets) * rounds.threads
        count = max(count, tokens / _tokens_an_input(model, few))
    count = min(count, effort.most_round_s / input_s, effort.most_inputs)
    rounds.inputs = workload.sample(max(_FEWEST_INPUTS, int(count)))
    return len(rounds.inputs) * input_s


def _tokens_an_input(model: Model, inputs: Sequence[Any]) -> float:
    texts = [text for one in inputs for text in ((one,) if isinstance(one, str) else one)]
    return max(1, sum(map(len, model.tokenizer.encode(texts))) / len(inputs))


def _grid(
    default: Configuration,
    admitted: list[tuple[str, Variant]],
    goal: str,
    threads: int,
    effort: Effort,
) -> list[Configuration]:
    """Every configuration that is tried, with those that share an engine side by side."""
    divisors = [count for count in range(1, threads + 1) if threads % count == 0]
    # One text alone fills no batch.
    own = default.token_budget
    budgets = {own} if goal == "latency" else {own, *effort.token_budgets}
    counts = {1, *spread(divisors, effort.most_worker_counts - 1), threads}
    found = {
        Configuration(engine, variant.name, workers, budget, default.device)
        for engine, variant in admitted
        for workers in counts
        for budget in budgets
    }
    return sorted({*found, default})


def _contest(
    rounds: Rounds,
    default: Configuration,
    candidates: list[Configuration],
    refused: list[Refused],
    effort: Effort,
) -> Tuning:
    measured: dict[Configuration, Measured] = {}

    def note(costs: Costs) -> None:
        for configuration, found in costs.items():
            # What was timed less often is compared with the first rounds of the default.
            speedup = Speedup.of(costs[default][: len(found)], found)
            measured[configuration] = Measured(configuration, found, speedup)

    note(first := _first_passes(rounds, candidates, default, refused))
    chosen = default
    if best := _finalists(first, default, effort):
        step = f"{1 + len(best)} in turn: the default and the best"
        note(costs := rounds.run([default, *best], rounds=effort.middle_rounds, step=step))
        (winner,) = fastest(costs, 1)
        if winner != default:
            step = "two in turn: the default and the best"
            note(rounds.run([default, winner], rounds=effort.last_rounds, step=step))
            chosen = winner if measured[winner].speedup.is_beyond_noise else default
    ordered = sorted(measured.values(), key=lambda one: (-len(one.costs), one.cost))
    return Tuning(default, chosen, ordered, refused, len(rounds.inputs))


def _finalists(costs: Costs, default: Configuration, effort: Effort) -> list[Configuration]:
    best = fastest(costs, effort.finalists)
    most = _HOPELESS * median(costs[best[0]])
    return [one for one in best if one != default and median(costs[one]) <= most]


def _first_passes(
    rounds: Rounds,
    candidates: list[Configuration],
    default: Configuration,
    refused: list[Refused],
) -> Costs:
    """Times all once and the better half once more, with one engine open at a time."""
    costs = _pass(rounds, candidates, default, refused)
    better = {default, *fastest(costs, math.ceil(len(costs) / 2))}
    # And back: a machine that grows slower meanwhile favours none.
    again = _pass(rounds, sorted(better, reverse=True), default, refused)
    for configuration in better:
        costs[configuration] += again.get(configuration, [])
    return costs


def _pass(
    rounds: Rounds,
    configurations: list[Configuration],
    default: Configuration,
    refused: list[Refused],
) -> Costs:
    costs: Costs = {}
    step = f"one round of each of {len(configurations)}"
    for engine, some in groupby(configurations, key=lambda c: (c.engine, c.variant, c.workers)):
        group = list(some)
        try:
            costs |= rounds.run(group, rounds=1, step=step)
        except EngineError as error:
            if default in group:
                raise
            name, variant, workers = engine
            refused.append(Refused(name, variant, f"with {workers} workers: {error}"))
    return costs
