"""Timing the configurations of an artifact: rounds of the same work, in turn."""

import time
from collections.abc import Callable, Iterable, Sequence
from statistics import median
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.engines import Engine
from lanner.loading.configuration import Configuration
from lanner.loading.load import open_configuration
from lanner.models.answers import ask
from lanner.models.base import Model

#: Every so-manieth input of a round warms up.
_WARM_UP_STEP = 4

#: Called as work goes on, with what is being done and the seconds that are left, where known.
Tell = Callable[[str, float | None], object]

Costs = dict[Configuration, list[float]]


class Rounds:
    """Times configurations.

    Args:
        artifact: What is run.
        goal: "latency" answers one input after the other, "throughput" all at once.
        threads: Cores to use.
        tell: Told of every round.

    Attributes:
        inputs: The work of a round: texts or pairs.
    """

    def __init__(self, artifact: Artifact, *, goal: str, threads: int, tell: Tell) -> None:
        self.artifact = artifact
        self.inputs: Sequence[Any] = ()
        self.goal = goal
        self.threads = threads
        self._tell = tell
        self._planned, self._done = 0, 1
        self._began = time.perf_counter()

    def plan(self, rounds: int, round_s: float) -> None:
        """States how many rounds are to come at most, and about how long one takes."""
        # The guess counts as a round that was done, and is soon outweighed.
        self._planned, self._done = rounds, 1
        self._began = time.perf_counter() - round_s

    def run(self, configurations: Iterable[Configuration], *, rounds: int, step: str) -> Costs:
        """Times some configurations, one after the other in every round.

        Args:
            configurations: How to run the artifact. All are open at once.
            rounds: How often each is timed, after it was run on some of the inputs.
            step: What is being done, for people.

        Returns:
            For each the seconds a text of every round: of "latency" the median over the texts.

        Raises:
            EngineError: An engine could not load or run a variant.
        """
        models = self.open(configurations)
        for model in models.values():
            self._tell(step, self._left_s)
            self.cost(model, self.inputs[::_WARM_UP_STEP])
        costs: Costs = {configuration: [] for configuration in models}
        for number in range(rounds):
            # Every other round goes backwards: what slows down the next one slows down all.
            for configuration in list(models)[:: -1 if number % 2 else 1]:
                self._tell(step, self._left_s)
                costs[configuration].append(self.cost(models[configuration], self.inputs))
                self._done += 1
        return costs

    def open(self, configurations: Iterable[Configuration]) -> dict[Configuration, Model]:
        """The model of each; those that differ by their token budget alone share an engine."""
        engines: dict[tuple[str, str, int], Engine] = {}
        models = {}
        for configuration in configurations:
            key = (configuration.engine, configuration.variant, configuration.workers)
            model = open_configuration(
                self.artifact, configuration, threads=self.threads, engine=engines.get(key)
            )
            engines[key] = model.runner.engine
            models[configuration] = model
        return models

    def cost(self, model: Model, inputs: Sequence[Any]) -> float:
        """The seconds a text of one round, of so many texts."""
        if self.goal == "throughput":
            start = time.perf_counter()
            ask(model, inputs)
            return (time.perf_counter() - start) / len(inputs)
        seconds = []
        for one in inputs:
            start = time.perf_counter()
            ask(model, one)
            seconds.append(time.perf_counter() - start)
        return median(seconds)

    @property
    def _left_s(self) -> float:
        a_round_s = (time.perf_counter() - self._began) / self._done
        return max(0, self._planned + 1 - self._done) * a_round_s
