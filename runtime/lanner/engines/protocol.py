"""The protocol that all engines share; models know no engine by name."""

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


class Engine(Protocol):
    """An engine that runs one variant. Several threads may call it at once."""

    @property
    def name(self) -> str:
        """Name of the engine in the manifest and in `lanner.load`."""

    @property
    def run_tokens(self) -> int | None:
        """Fixed cost of a run, in tokens; None for an engine that takes packed texts.

        Texts of different callers run together if padding them to one length costs less. Packed
        texts lie one behind the other without padding.
        """

    def run(
        self,
        inputs: Mapping[str, NDArray[Any]],
        *,
        is_alone: bool = False,
        deadline_s: float | None = None,
    ) -> NDArray[np.float32]:
        """Run one batch on the cores of one worker.

        Args:
            inputs: The tensors that the manifest names, int64 [batch, length]; of packed texts
                the ids and types, int32 [tokens] each, and `lanner.engines.STARTS`.
            is_alone: True if nothing else runs or waits: the batch may take the cores of all
                workers, if that is faster. It may slow down calls that come meanwhile.
            deadline_s: The time by `time.monotonic` at which the caller stops waiting, or None.
                Engines in this process, where a batch takes milliseconds, may ignore it.

        Returns:
            The first output, float32 [batch, ...].

        Raises:
            EngineError: The engine failed; the message is the engine's.
        """
