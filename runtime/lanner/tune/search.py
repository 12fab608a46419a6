"""The search for the fastest configuration of an artifact; `lanner.loading.tuned` stores it.

Successive halving: every configuration is timed once, the better half once more, the best few in
alternation with the default, and finally the best one against the default alone. A configuration is
only chosen if it beats the default by more than the noise of that last stage.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from statistics import median
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.artifact.manifest import Variant
from lanner.artifact.quality_budget import QualityBudget
from lanner.errors import EngineError, VariantError
from lanner.loading.configuration import Configuration
from lanner.models.base import Model
from lanner.tune.floor import QualityFloor
from lanner.tune.rounds import Costs, Rounds, Tell
from lanner.tune.speedup import Speedup, fastest
from lanner.tune.workload import Workload, spread

_FEWEST_INPUTS = 32
#: Batches per worker at the largest token budget, so that no worker ends long after the others.
_BATCHES_A_WORKER = 4
#: Configurations more than this many times slower than the fastest are not timed again.
_HOPELESS = 2


@dataclass(frozen=True)
class Effort:
    """The effort of a search: the values to try, and the number of timed rounds.

    Attributes:
        token_budgets: Token budgets to try on a CPU, besides the default.
        gpu_token_budgets: The same on a GPU.
        most_worker_counts: The most numbers of workers to try.
        least_round_s: The least duration of a round of the default, approximately.
        most_round_s: The most, where a shorter round would fill the batches less well; a round has
            at least 32 texts.
        most_inputs: The most texts in a round.
        finalists: The number of configurations that are timed in alternation with the default.
        middle_rounds: Rounds of the finalists.
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
        configuration: The configuration.
        costs: Seconds per text of each round; for latency the median over the texts.
        speedup: The speed relative to the default in the same rounds.
    """

    configuration: Configuration
    costs: Sequence[float]
    speedup: Speedup

    @property
    def cost(self) -> float:
        """Median of the rounds."""
        return median(self.costs)


@dataclass(frozen=True)
class Tuning:
    """The result of a search.

    Attributes:
        default: The plain default, or the default of an admitted variant if the plain one is below
            the quality floor.
        choice: The fastest configuration; `default` if none is faster by more than the noise.
        measured: Every configuration, the fastest of the last stage first.
        refused: Variants and engines below the quality floor, or that cannot be run.
        inputs: The number of texts or pairs of a round.
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
    budget: QualityBudget | None = None,
    effort: Effort | None = None,
    tell: Tell = lambda _: None,
) -> Tuning:
    """Find the fastest configuration of an artifact on this machine.

    Args:
        artifact: The artifact to run.
        workload: The texts.
        goal: ``"latency"``, the median time of a single text, or ``"throughput"``, many texts at
            once; both from text to answer.
        threads: Cores to use.
        device: The device; ``"auto"`` for the device that `lanner.load` would choose.
        budget: The quality floor; see `lanner.tune.floor`.
        effort: The effort of the search; the default takes a minute or two for a small model.
        tell: Called as work goes on.

    Raises:
        UnsupportedError: The artifact holds nothing to measure the floor against.
        VariantError: No variant meets the floor, or none is safe on this machine.
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
    _size(rounds, workload, default, effort)
    to_come = math.ceil(len(candidates) * 1.5) + (1 + effort.finalists) * effort.middle_rounds
    rounds.plan(to_come + 2 * effort.last_rounds)
    return _contest(rounds, default, candidates, refused, effort)


def _judged(floor: QualityFloor, tell: Tell) -> tuple[list[tuple[str, Variant]], list[Refused]]:
    admitted, refused = [], []
    for engine, variant in floor.candidates:
        tell(f"quality of {variant.name} in {engine}")
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


def _size(rounds: Rounds, workload: Workload, default: Configuration, effort: Effort) -> None:
    """Size a round by the effort."""
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
    """Return every configuration to try; those that share an engine are adjacent."""
    divisors = [count for count in range(1, threads + 1) if threads % count == 0]
    # A single text never fills a batch.
    own = default.token_budget
    token_budgets = {own} if goal == "latency" else {own, *effort.token_budgets}
    counts = {1, *spread(divisors, effort.most_worker_counts - 1), threads}
    found = {
        Configuration(engine, variant.name, workers, token_budget, default.device)
        for engine, variant in admitted
        for workers in counts
        for token_budget in token_budgets
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
            # A configuration with fewer rounds is compared with the default's first rounds.
            speedup = Speedup.of(costs[default][: len(found)], found)
            measured[configuration] = Measured(configuration, found, speedup)

    note(first := _first_passes(rounds, candidates, default, refused))
    chosen = default
    if best := _finalists(first, default, effort):
        step = f"{1 + len(best)} alternating: the default and the best"
        note(costs := rounds.run([default, *best], rounds=effort.middle_rounds, step=step))
        (winner,) = fastest(costs, 1)
        if winner != default:
            step = "two alternating: the default and the best"
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
    """Time all once and the better half once more, with one engine open at a time."""
    costs = _pass(rounds, candidates, default, refused)
    better = {default, *fastest(costs, math.ceil(len(costs) / 2))}
    # In reverse, so that a machine that slows down meanwhile favours none.
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
