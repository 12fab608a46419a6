"""ONNX Runtime's providers on a GPU, in process and in Triton's backend: what both are told alike.

The options: https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html
"""

from collections.abc import Sequence
from pathlib import Path

from lanner.artifact.engine_build import Profile

#: Of CUDA: fp32 is multiplied as fp32, not rounded to TF32, which is another precision.
CUDA_OPTIONS = {"use_tf32": "0"}


def provider_options(inputs: Sequence[str], profile: Profile, cache: Path | str) -> dict[str, str]:
    """The options of one profile whose engine is kept, with what was timed for it.

    Args:
        inputs: The graph's inputs, [batch, length] each.
        profile: The shapes that they take.
        cache: The directory that keeps both.
    """
    shapes = {"min": profile.smallest, "opt": profile.typical, "max": profile.largest}
    return {
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(cache),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(cache),
    } | {
        f"trt_profile_{which}_shapes": ",".join(f"{name}:{batch}x{length}" for name in inputs)
        for which, (batch, length) in shapes.items()
    }
