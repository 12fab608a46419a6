"""How an artifact is run in this process."""

from dataclasses import dataclass
from typing import Self

from lanner.artifact import Artifact
from lanner.batching import TOKEN_BUDGET
from lanner.engines import choose_engine


@dataclass(frozen=True, order=True)
class Configuration:
    """What `lanner.load` decides where it is not told; `str` says it in words.

    Attributes:
        engine: Of `lanner.engines.ENGINES`.
        variant: The name of a variant of the artifact.
        workers: How many batches run at once, sharing the cores.
        token_budget: The most padded tokens in one batch.
    """

    engine: str
    variant: str
    workers: int
    token_budget: int

    @classmethod
    def default(
        cls, artifact: Artifact, *, threads: int, engine: str = "auto", variant: str = "auto"
    ) -> Self:
        """What is taken where nothing was measured.

        Args:
            artifact: What is run.
            threads: Cores to use.
            engine: One of `lanner.engines.ENGINES`, or ``"auto"``; see
                `lanner.engines.choose_engine`.
            variant: One of the artifact's, or ``"auto"``; see `lanner.artifact.Artifact.choose`.

        Raises:
            VariantError: There is no such variant.
            MissingExtraError: No engine is installed.
        """
        chosen = artifact.choose(variant)
        engine = choose_engine(chosen) if engine == "auto" else engine
        return cls(engine, chosen.name, workers=threads, token_budget=TOKEN_BUDGET)

    def fits(self, *, engine: str, variant: str) -> bool:
        """Whether a caller who asks for this engine and variant, or ``"auto"``, may get it."""
        return engine in ("auto", self.engine) and variant in ("auto", self.variant)

    def __str__(self) -> str:
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"{self.variant} in {self.engine}, {workers}, {self.token_budget:,} tokens a batch"
