"""Timing the configurations of an artifact, in alternating rounds of the same work."""

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

#: One input in this many warms up.
_WARM_UP_STEP = 4

#: A progress callback: takes the current step.
Tell = Callable[[str], object]

Costs = dict[Configuration, list[float]]


class Rounds:
    """A timer of configurations.

    Args:
        artifact: The artifact to run.
        goal: "latency" answers one input after the other, "throughput" all at once.
        threads: Cores to use.
        tell: Called in every round.

    Attributes:
        inputs: The texts or pairs of a round.
    """

    def __init__(self, artifact: Artifact, *, goal: str, threads: int, tell: Tell) -> None:
        self.artifact = artifact
        self.inputs: Sequence[Any] = ()
        self.goal = goal
        self.threads = threads
        self._tell = tell
        self._planned = self._done = 0
        self._began = time.perf_counter()

    def plan(self, rounds: int) -> None:
        """Set the most rounds to come."""
        self._planned, self._done = rounds, 0
        self._began = time.perf_counter()

    def run(self, configurations: Iterable[Configuration], *, rounds: int, step: str) -> Costs:
        """Time configurations, one after the other in every round.

        Args:
            configurations: The configurations to time. All are open at once.
            rounds: The number of times each is timed, after warming up on some inputs.
            step: The current step, for the progress display.

        Returns:
            The seconds per text of every round for each configuration; for "latency" the median
            over the texts.

        Raises:
            EngineError: An engine could not load or run a variant.
        """
        models = self.open(configurations)
        for model in models.values():
            self._tell(self._progress(step))
            self.cost(model, self.inputs[::_WARM_UP_STEP])
        costs: Costs = {configuration: [] for configuration in models}
        for number in range(rounds):
            # Every other round runs in reverse, so that carry-over effects hit all alike.
            for configuration in list(models)[:: -1 if number % 2 else 1]:
                self._tell(self._progress(step))
                costs[configuration].append(self.cost(models[configuration], self.inputs))
                self._done += 1
        return costs

    def open(self, configurations: Iterable[Configuration]) -> dict[Configuration, Model]:
        """Return a model per configuration; those that differ in token budget share an engine."""
        engines: dict[tuple[str, str, int], Engine] = {}
        models: dict[Configuration, Model] = {}
        for configuration in configurations:
            key = (configuration.engine, configuration.variant, configuration.workers)
            model = open_configuration(
                self.artifact, configuration, threads=self.threads, engine=engines.get(key)
            )
            engines[key] = model.runner.engine
            models[configuration] = model
        return models

    def cost(self, model: Model, inputs: Sequence[Any]) -> float:
        """Return the seconds per text of one round."""
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

    def _progress(self, step: str) -> str:
        # No time that is left: a round of the slowest configuration takes many of the fastest.
        seconds = time.perf_counter() - self._began
        return f"{step}: round {self._done + 1} of at most {self._planned}, {seconds:.0f} s so far"
