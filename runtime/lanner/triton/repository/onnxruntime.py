"""The ONNX Runtime backend, which runs a graph without Lanner.

Sources: the README of onnxruntime_backend for its parameters and accelerators.
"""

import errno
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lanner.artifact.engine_build import Profile
from lanner.artifact.manifest import Manifest, Variant
from lanner.engines.tensorrt.provider import CUDA_OPTIONS, provider_options
from lanner.errors import EngineError, UnsupportedError
from lanner.machine.machine import available_cores
from lanner.triton.contract.onnxruntime_versions import INT8_DIFFERS, is_int8, least_version
from lanner.triton.repository.backend import (
    Backend,
    Section,
    require_graph_for_device,
    require_one_file,
)
from lanner.triton.repository.serving import Serving

#: The only precisions that the accelerator of onnxruntime_backend knows.
_PRECISION_MODES = {"fp32": {}, "fp16": {"precision_mode": "FP16"}}


class OnnxRuntimeBackend(Backend):
    """See `Backend`."""

    name = "onnxruntime"
    file = "model.onnx"

    def require_runs(self, variant: Variant, serving: Serving, directory: Path) -> None:
        """See `Backend.require_runs`."""
        require_graph_for_device(variant, serving, directory)
        if variant.engine != "onnxruntime":
            msg = (
                f"{directory} holds the variant {variant.name} for {variant.engine}, which the "
                "backend onnxruntime does not run: name another with --variant"
            )
            raise UnsupportedError(msg)
        require_one_file(self.name, variant, directory)

    def prepare(self, path: Path, serving: Serving) -> None:
        """Replace a graph by the one that ONNX Runtime optimizes with Lanner's settings.

        Triton's backend cannot switch off single fusions, so the graph is optimized beforehand.
        """
        if serving.is_on_gpu:  # ONNX Runtime fuses at load; a graph for a CPU is slow there
            return
        from lanner.engines.onnxruntime import open_session  # noqa: PLC0415 (an extra)

        optimized = path.with_name(f"optimized.{path.name}")
        try:
            open_session(path, save_optimized_to=optimized)
        except EngineError:
            # If the disk is full, ONNX Runtime only reports that the graph cannot be serialized.
            if shutil.disk_usage(path.parent).free < path.stat().st_size:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from None
            raise
        optimized.replace(path)

    def optimization(
        self,
        manifest: Manifest,
        variant: Variant,
        serving: Serving,
        buckets: tuple[int, ...],
    ) -> list[Section]:
        """See `Backend.optimization`."""
        if not serving.is_on_gpu:
            comment = (
                "The graph in the file is optimized already, without the fusions that are slow on "
                "a\nCPU: -1 leaves it so (1 would make them, 2 switches off what is needed)."
            )
            return [(comment, {"optimization": {"graph": {"level": -1}}})]
        comment = "use_tf32: fp32 is multiplied as fp32, which is slower than TF32 and exact."
        if serving.engine_cache is not None:
            comment = (
                "TensorRT runs the graph; the server builds its engine at the first load, which\n"
                "takes minutes, and keeps it where trt_engine_cache_path says. CUDA runs what it\n"
                "leaves."
            )
        found = {"gpu_execution_accelerator": _accelerators(manifest, variant, serving, buckets)}
        return [(comment, {"optimization": {"execution_accelerators": found}})]

    def parameters(self, serving: Serving, variant: Variant) -> tuple[str, dict[str, str]]:
        """See `Backend.parameters`."""
        if serving.is_on_gpu:
            return "", {"intra_op_thread_count": "1", "inter_op_thread_count": "1"}
        comment = (
            f"It needs {least_version(variant.precision)} or later.\n"
            "intra_op_thread_count: the cores of one instance; with 0 ONNX Runtime would pin its\n"
            "threads to cores, also to those that others use."
        )
        threads = serving.threads or max(1, available_cores() // serving.instances)
        return comment, {
            "intra_op_thread_count": str(threads),
            "inter_op_thread_count": "1",
            "enable_mem_pattern": "0",
        }

    def notes(self, variant: Variant, serving: Serving) -> list[str]:
        """See `Backend.notes`."""
        if serving.is_on_gpu:
            return []
        notes = [f"the backend onnxruntime needs {least_version(variant.precision)} or later"]
        if serving.cores is None:
            cores = available_cores()
            notes.append(f"its threads are for {cores} cores, as here: name others with --cores")
        if is_int8(variant.precision):
            notes.append(f"{INT8_DIFFERS}; the backend python has the vectors of the artifact")
        return notes


def _accelerators(
    manifest: Manifest, variant: Variant, serving: Serving, buckets: Sequence[int]
) -> list[dict[str, Any]]:
    """Return ONNX Runtime's execution accelerators: its own kernels, or TensorRT before them.

    TensorRT gets one profile for all buckets, and its engines are kept on the server.

    Raises:
        UnsupportedError: The accelerator does not know the precision.
    """
    cuda = {"name": "cuda", "parameters": CUDA_OPTIONS}
    if serving.engine_cache is None:
        return [cuda]
    if variant.precision not in _PRECISION_MODES:
        msg = (
            f"TensorRT in the backend onnxruntime takes {' or '.join(_PRECISION_MODES)}, not "
            f"{variant.precision}: name another --variant, or omit --engine-cache"
        )
        raise UnsupportedError(msg)
    profile = Profile(
        (1, buckets[0]),
        (max(1, serving.max_batch_size // 4), buckets[len(buckets) // 2]),
        (serving.max_batch_size, buckets[-1]),
    )
    parameters = {
        **_PRECISION_MODES[variant.precision],
        **provider_options(manifest.inputs, profile, serving.engine_cache),
    }
    return [{"name": "tensorrt", "parameters": parameters}, cuda]
