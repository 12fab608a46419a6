"""`lanner serve` with an engine that is as slow as a larger model on one core.

The engine computes the real answer, and then sleeps until a batch has taken its time. So many pods
fit on a small machine: their queues, batches and figures are those of busy pods, and its cores are
not busy.
"""

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lanner.commands import main
from lanner.engines import registry
from lanner.engines.protocol import Engine


class PacedEngine:
    """An engine whose batches take a given time at least.

    Args:
        engine: The engine.
        run_ms: Milliseconds of a batch.
        token_ms: Milliseconds more for each token.
    """

    def __init__(self, engine: Engine, run_ms: float, token_ms: float) -> None:
        self._engine, self._run_ms, self._token_ms = engine, run_ms, token_ms

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    def run(self, inputs: Mapping[str, NDArray[Any]], **arguments: Any) -> NDArray[np.float32]:
        """Run one batch; see `lanner.engines.Engine.run`."""
        end_s = time.perf_counter()
        end_s += (self._run_ms + self._token_ms * int(inputs["attention_mask"].sum())) / 1e3
        output = self._engine.run(inputs, **arguments)
        time.sleep(max(0.0, end_s - time.perf_counter()))
        return output


def pace(run_ms: float, token_ms: float) -> None:
    """Make every engine of this process slow."""

    def paced(opens: Callable[[registry.Opening], Engine]) -> Callable[[registry.Opening], Engine]:
        return lambda opening: PacedEngine(opens(opening), run_ms, token_ms)

    slow = tuple(replace(one, open=paced(one.open)) for one in registry.ENGINES)
    registry.ENGINES = slow  # type: ignore[assignment]  # as many as before


if __name__ == "__main__":
    pace(float(sys.argv[1]), float(sys.argv[2]))
    sys.exit(main(sys.argv[3:]))
