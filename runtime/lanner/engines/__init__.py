"""What runs a variant. Engines share one small protocol, so that the model need not know them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from lanner.errors import VariantError

#: Names that `lanner.load(engine=...)` takes, "auto" aside.
ENGINES = ("onnxruntime",)


class Engine(Protocol):
    """Runs one variant. It may be called from several threads at once."""

    @property
    def name(self) -> str:
        """The engine's name in the manifest and in `lanner.load`."""

    @property
    def run_tokens(self) -> int:
        """What a run costs beside its tokens, in tokens.

        Texts of different callers run together where filling them up to one length costs less.
        """

    def run(
        self, inputs: Mapping[str, NDArray[np.int64]], *, is_alone: bool = False
    ) -> NDArray[np.float32]:
        """One batch, on the cores of one worker, so that workers do not get into each other's way.

        Args:
            inputs: The tensors that the manifest names, int64 [batch, length].
            is_alone: That nothing else runs or waits: the batch may take the cores of all workers,
                if that makes it faster. What comes meanwhile may be slowed down.

        Returns:
            The first output, float32 [batch, ...].

        Raises:
            EngineError: The engine failed; the message is its own.
        """


def open_engine(
    name: str, path: Path, *, precision: str = "fp32", threads: int = 1, workers: int = 1
) -> Engine:
    """Loads a model file into the engine of that name.

    Args:
        name: One of `ENGINES`.
        path: The variant's model file.
        precision: The variant's.
        threads: Cores to use.
        workers: How many batches run at once as a rule; each has ``threads // workers`` cores.

    Raises:
        VariantError: There is no such engine.
        MissingExtraError: Its package is not installed.
        EngineError: It could not load the file.
    """
    if name == "onnxruntime":
        from lanner.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415 (an extra)

        return OnnxRuntimeEngine(path, precision=precision, threads=threads, workers=workers)
    msg = f"there is no engine {name!r}: use {', '.join(ENGINES)} or 'auto'"
    raise VariantError(msg)
