"""The mask of an attention: it hides padding, and tokens that are further away than a window."""

import numpy as np

from lanner.engines.native.embeddings import IDS, MASK, TYPES
from lanner.engines.native.matcher import Matcher
from lanner.engines.native.plan import refuse

#: If less than this is added to a score, its weight is zero.
HIDDEN = -1e30
#: Larger numbers are no windows but ends of slices, or floats that stand for infinity.
_NO_WINDOW = 2**24
_LEAST_TOKENS = 7


def window_of(graph: Matcher, mask: str) -> int:
    """Return how far away from a token the tokens may be that it attends to; 0 for any distance.

    Raises:
        EngineError: The mask hides more or less than padding and what is further away.
    """
    # Long enough for every window that the graph could mean.
    tensors = (graph.graph.tensors[name] for name in graph.tensors_behind(mask))
    sizes = [abs(float(item.ravel()[0])) for item in tensors if item.size == 1]
    longest = max([_LEAST_TOKENS, *(int(size) + 2 for size in sizes if size < _NO_WINDOW)])
    lengths = np.array([[longest], [longest // 2 + 1], [2]])
    present = np.arange(longest) < lengths
    ids = np.random.default_rng(0).integers(3, 9, present.shape)
    inputs = {IDS: ids, MASK: present.astype(np.int64), TYPES: np.zeros_like(ids)}
    found = graph.evaluate(mask, inputs)
    if found.dtype == np.float32:  # the value that is added to the scores
        is_plain = ((found == 0) | (found < HIDDEN)).all()
        found = found == 0 if is_plain else found
    if found.dtype != np.bool_:
        refuse(f"the mask {mask!r} of {found.dtype}")
    attends = np.broadcast_to(found, (len(present), 1, longest, longest))[:, 0]
    window = int(attends[0, 0].sum()) - 1
    distance = np.abs(np.subtract.outer(np.arange(longest), np.arange(longest)))
    expected = present[:, None, :] & (distance <= window)
    # Rows of padding are never read.
    if window < 1 or not (attends == expected)[present].all():
        refuse(f"the mask {mask!r}, which hides more or less than padding")
    # A graph of the head `tokens` may answer tokens that none reads, which have 2.
    if any(
        node.operator == "Equal" and MASK in node.inputs and graph.scalar(node.inputs[1]) == 1
        for node in graph.nodes_behind(mask)
    ):
        refuse(f"the mask {mask!r}, which hides tokens that are answered")
    return 0 if window == longest - 1 else window
