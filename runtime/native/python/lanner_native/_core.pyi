from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

INTERFACE: int
"""``LN_VERSION`` of ``lanner_native.h``."""

class NativeError(RuntimeError):
    """A status of ``lanner_native.h`` and its sentence, the two arguments."""

class Model:
    """An encoder in memory; several threads may run it at once."""

    def __init__(
        self,
        config: Mapping[str, float | Sequence[int]],
        tensors: Mapping[str, NDArray[np.float32] | NDArray[np.int8]],
        *,
        per_token: bool = False,
        bf16: bool = False,
        instruction_set: str = "",
    ) -> None: ...
    def run(
        self,
        ids: NDArray[np.int32],
        type_ids: NDArray[np.int32] | None,
        starts: NDArray[np.int32],
        output: NDArray[np.float32],
        threads: int,
    ) -> None:
        """Run packed sequences into `output`; the GIL is released meanwhile."""

    @property
    def output_size(self) -> int:
        """The number of values in a row of output."""

    @property
    def instruction_set(self) -> str:
        """The name of the instruction set in use."""

def instruction_sets() -> list[tuple[str, bool, bool, bool, bool, bool]]:
    """Return each instruction set, fastest first.

    Its name, compiled, supported, passed, and for bfloat16 supported, passed.
    """
