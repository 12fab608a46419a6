"""The shapes that an engine is built for.

With one profile per bucket, inputs have few lengths: TensorRT chooses kernels for each, the runtime
can launch CUDA graphs, and shorter texts are padded. One wide profile takes any length, with
kernels chosen for one of them. All profiles have the same largest batch.
"""

from collections.abc import Sequence

from lanner.artifact.buckets import default_buckets
from lanner.artifact.engine_build import Profile
from lanner.errors import InputError

DEFAULT_MAX_BATCH_SIZE = 64
#: The default batch that kernels are chosen for: between a single text and a full batch.
DEFAULT_TYPICAL_BATCH_SIZE = 8
#: The typical length of a wide profile: about the longest sentence.
_TYPICAL_TOKENS = 64


def engine_profiles(
    kind: str,
    max_tokens: int,
    *,
    buckets: Sequence[int] = (),
    max_batch_size: int = DEFAULT_MAX_BATCH_SIZE,
    typical_batch_size: int = DEFAULT_TYPICAL_BATCH_SIZE,
) -> list[Profile]:
    """Return the profiles of an engine.

    Args:
        kind: ``"buckets"`` or ``"wide"``.
        max_tokens: The longest input of the model.
        buckets: Increasing lengths in tokens; empty for 16, 24, 32, 48, 64 and so on, up to the
            model's limit.
        max_batch_size: The most texts in a batch.
        typical_batch_size: The batch that kernels are chosen for; at most `max_batch_size`.

    Raises:
        InputError: A bucket is beyond the model's limit, or buckets are given for a wide profile.
    """
    typical = min(typical_batch_size, max_batch_size)
    if kind == "wide":
        if buckets:
            msg = "one wide profile has no buckets: omit them, or use --profiles buckets"
            raise InputError(msg)
        length = min(_TYPICAL_TOKENS, max_tokens)
        return [Profile((1, 1), (typical, length), (max_batch_size, max_tokens))]
    lengths = tuple(buckets) or default_buckets(max_tokens)
    if lengths[-1] > max_tokens:
        msg = (
            f"the bucket {lengths[-1]} is beyond the model's {max_tokens} tokens: omit it, or "
            "export the checkpoint with a larger --max-tokens"
        )
        raise InputError(msg)
    return [Profile((1, n), (typical, n), (max_batch_size, n)) for n in lengths]
