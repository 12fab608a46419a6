"""The protocol that all engines share, so that the model need not know them."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


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
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """One batch, on the cores of one worker, so that workers do not get into each other's way.

        Args:
            inputs: The tensors that the manifest names, int64 [batch, length].
            is_alone: That nothing else runs or waits: the batch may take the cores of all workers,
                if that makes it faster. What comes meanwhile may be slowed down.
            deadline_s: When nobody waits for it any longer, by `time.monotonic`, or None. An engine
                in this process, where a batch takes milliseconds, need not look at it.

        Returns:
            The first output, float32 [batch, ...].

        Raises:
            EngineError: The engine failed; the message is its own.
        """
