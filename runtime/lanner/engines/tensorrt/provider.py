"""Options of ONNX Runtime's GPU providers, shared by this process and Triton's backend.

See https://onnxruntime.ai/docs/execution-providers/CUDA-ExecutionProvider.html and
TensorRT-ExecutionProvider.html.
"""

from collections.abc import Sequence
from pathlib import Path

from lanner.artifact.engine_build import Profile

#: Options of CUDA: multiply fp32 as fp32, not rounded to TF32, which is another precision.
CUDA_OPTIONS = {"use_tf32": "0"}


def provider_options(inputs: Sequence[str], profile: Profile, cache: Path | str) -> dict[str, str]:
    """Return the options for one profile, with a cache of engines and of kernel timings.

    Args:
        inputs: The graph's inputs, [batch, length] each.
        profile: The shapes of the inputs.
        cache: The directory of both caches.
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
