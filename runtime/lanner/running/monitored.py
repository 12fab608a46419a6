"""A model whose batches are counted for metrics."""

from collections.abc import Mapping

from lanner.artifact.manifest import Manifest, Variant
from lanner.monitoring.models import LOADED, Models, State
from lanner.running.runner import Runner


class Monitored:
    """The part of a model that metrics read.

    Attributes:
        manifest: The manifest of its artifact.
        variant: The variant that runs.
        runner: Its runner; another object once it is closed.
        load_s: Seconds that loading took.
    """

    manifest: Manifest
    variant: Variant
    runner: Runner
    load_s = 0.0

    def _enter(self, runner: Runner) -> None:
        """Take a runner, and count its batches in the figures of this process."""
        self.runner = runner
        runner.figures = LOADED.enter(self.manifest.name, self._state)

    def count_in(self, models: Models, name: str, version: str) -> None:
        """Count the batches of this model in the figures of a service.

        Args:
            models: The models of the service.
            name: The name of this model there.
            version: The number of its version there.
        """
        LOADED.leave(self.manifest.name, self._state)
        self.runner.figures = models.enter(name, self._state, version)
        for task, part in self.parts().items():
            part.count_in(models, f"{name}:{task}", version)

    def parts(self) -> Mapping[str, "Monitored"]:
        """Return the models that answer some of its calls, by the task of their texts."""
        return {}

    def _state(self) -> State | None:
        """Return the state for metrics, or None if the model is closed."""
        runner: object = self.runner
        variant = self.variant
        if not isinstance(runner, Runner):
            return None
        served = getattr(runner.engine, "served", None)
        file = self.manifest.files.get(variant.file)
        busy, waiting, oldest_s = runner.state()
        return State(
            head=self.manifest.head,
            variant=variant.name,
            precision=variant.precision,
            engine=runner.engine.name,
            version="" if served is None else str(served.version),
            sha256="" if file is None else file.sha256[:12],
            load_s=self.load_s,
            workers=runner.workers,
            busy=busy,
            waiting=waiting,
            oldest_s=oldest_s,
        )
