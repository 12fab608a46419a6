"""The answer to a text without tokens, which no engine runs."""

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import Manifest


def empty_answers(manifest: Manifest, *shape: int) -> NDArray[np.float32]:
    """Return the answer to texts without tokens, float32 [*shape, dimension]."""
    answer = np.zeros((*shape, manifest.dimension), np.float32)
    if manifest.empty_answer:
        answer[:] = manifest.empty_answer
    return answer
