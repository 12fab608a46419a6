"""The configuration that an artifact runs with in this process."""

from dataclasses import dataclass
from typing import Self

from lanner.artifact.artifact import Artifact
from lanner.engines import find_engine
from lanner.loading.selection import select
from lanner.running.defaults import GPU_TOKEN_BUDGET, TOKEN_BUDGET

#: Batches at once on a GPU: one is prepared while the other runs.
_GPU_WORKERS = 2


@dataclass(frozen=True, order=True)
class Configuration:
    """The settings that `lanner.load` decides by default; `str` says them in words.

    Attributes:
        engine: One of `lanner.engines.engine_names`.
        variant: The name of a variant of the artifact.
        workers: The number of batches that run at once, sharing the cores.
        token_budget: The most padded tokens in one batch.
        device: One of `lanner.engines.DEVICES`.
    """

    engine: str
    variant: str
    workers: int
    token_budget: int
    device: str = "cpu"

    @classmethod
    def default(
        cls,
        artifact: Artifact,
        *,
        threads: int,
        engine: str = "auto",
        variant: str = "auto",
        device: str = "auto",
    ) -> Self:
        """Return the default configuration, without measurements.

        Args:
            artifact: The artifact.
            threads: Cores to use.
            engine: The engine, or ``"auto"``.
            variant: One of the artifact's variants, or ``"auto"``.
            device: The device, or ``"auto"``; see `lanner.loading.selection.select`.

        Raises:
            LannerError: See `lanner.loading.selection.select`.
        """
        chosen, engine, device = select(artifact, engine=engine, variant=variant, device=device)
        on_gpu = device == "cuda"
        workers = min(_GPU_WORKERS, threads) if on_gpu else threads
        token_budget = GPU_TOKEN_BUDGET if on_gpu else TOKEN_BUDGET
        return cls(engine, chosen.name, workers, token_budget, device)

    def fits(self, *, engine: str, variant: str, device: str) -> bool:
        """Return whether it fits a requested engine, variant and device, or ``"auto"``."""
        asked = ((engine, self.engine), (variant, self.variant), (device, self.device))
        return all(wanted in ("auto", own) for wanted, own in asked)

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        engine = find_engine(self.engine)
        is_usual = engine is not None and self.device == engine.devices[0]
        where = "" if is_usual or self.device == "cpu" else f" on {self.device}"
        what = f"{self.variant} in {self.engine}{where}"
        return f"{what}, {workers}, {self.token_budget:,} tokens a batch"
