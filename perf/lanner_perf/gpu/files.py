"""The files made from a model for the subjects of `lanner_perf.gpu.bench`.

PyTorch makes the graphs in a process of its own. Its CUDA libraries may differ from those of ONNX
Runtime or TensorRT, and a process loads only one library of each name. So engines run as in an
installation of Lanner without PyTorch.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.engine_build import EngineBuild
from lanner.errors import BenchmarkError
from lanner.machine.gpu import require_gpu
from lanner_perf.gpu.models import MODELS, MOST_TOKENS, inputs_of
from lanner_perf.subjects.subject import last_line

if TYPE_CHECKING:
    from lanner_perf.gpu.torch_models import Reference, SentenceVectors

Vectors = NDArray[np.float32]
_PREPARE = "import sys; from lanner_perf.gpu.files import prepare; prepare(sys.argv[1])"
_EXPECTED = "expected.npz"


@dataclass(frozen=True)
class Model:
    """A model and the files made from it.

    Attributes:
        name: One of `lanner_perf.gpu.models.MODELS`.
        device: ``"cuda"`` or ``"cpu"``.
        place: The directory for its files, which are made once for all subjects and processes.
        batches: The numbers of texts that it is run with.
        lengths: The lengths in tokens that it is run with.
    """

    name: str
    device: str
    place: str
    batches: Sequence[int]
    lengths: Sequence[int]

    @property
    def directory(self) -> Path:
        """Return the directory for the files of the model."""
        return Path(self.place)

    @cached_property
    def torch(self) -> "SentenceVectors":
        """Return the model in PyTorch, float32, on the CPU."""
        from lanner_perf.gpu.torch_models import random_model  # noqa: PLC0415 (torch)

        return random_model(MODELS[self.name])

    @cached_property
    def reference(self) -> "Reference":
        """Return the float32 reference in PyTorch, on the device."""
        from lanner_perf.gpu.torch_models import Reference  # noqa: PLC0415 (torch)

        return Reference(self.torch, self.device)

    def expected(self) -> dict[tuple[int, int], Vectors]:
        """Return the float32 answers to `inputs_of` each batch and length; imports no PyTorch.

        Raises:
            BenchmarkError: See `onnx`.
        """
        with np.load(self._prepared(_EXPECTED)) as arrays:
            shapes = [(batch, length) for batch in self.batches for length in self.lengths]
            return {shape: arrays[str(shape)] for shape in shapes}

    def onnx(self, precision: str) -> Path:
        """Return the file of its graph, ``"fp32"`` or ``"fp16"``, as `lanner export` writes it.

        Raises:
            BenchmarkError: The file could not be made, by this process or an earlier one.
        """
        return self._prepared(f"model.{precision}.onnx")

    def engine(self) -> tuple[Path, EngineBuild]:
        """Return its fp16 TensorRT engine with a profile for each length, and the engine's record.

        Raises:
            BenchmarkError: The graph could not be made.
            LannerError: There is no GPU or no TensorRT, or the engine could not be built.
        """
        from lanner.engines.tensorrt.library import tensorrt_version  # noqa: PLC0415
        from lanner_export.graph.tensors import INPUTS  # noqa: PLC0415
        from lanner_export.tensorrt.build_plan import BuildPlan, BuildSettings  # noqa: PLC0415
        from lanner_export.tensorrt.builder import build_engine  # noqa: PLC0415 (onnx)
        from lanner_export.tensorrt.graph import write_tensorrt_graph  # noqa: PLC0415
        from lanner_export.tensorrt.profiles import engine_profiles  # noqa: PLC0415

        gpu, version = require_gpu("TensorRT"), tensorrt_version()
        profiles = engine_profiles(
            "buckets",
            MOST_TOKENS,
            buckets=sorted(self.lengths),
            max_batch_size=max(self.batches),
        )
        build = EngineBuild(gpu.name, gpu.compute_capability, version, profiles)

        def write(path: Path) -> None:
            source = self.directory / "tensorrt.onnx"
            graph = write_tensorrt_graph(self.onnx("fp32"), source, "fp16")
            plan = BuildPlan("fp16", graph, INPUTS, profiles, BuildSettings())
            build_engine(source, path, plan, lambda *_: None)

        return self._made(build.file_name("fp16"), write), build

    def prepare(self) -> None:
        """Make the files that need PyTorch."""
        from lanner_export.graph.tensors import EMBEDDING, INPUTS  # noqa: PLC0415
        from lanner_export.graph.tracing import SentenceGraph, write_fp32  # noqa: PLC0415 (torch)
        from lanner_export.precision.half_precision import write_half  # noqa: PLC0415 (onnx)

        def write_expected(path: Path) -> None:
            arrays: dict[str, Any] = {
                str((batch, length)): self.reference(inputs_of(batch, length))
                for batch in self.batches
                for length in self.lengths
            }
            np.savez(path, **arrays)

        def write_graph(path: Path) -> None:
            # These have the attributes of sentence-transformers' modules.
            modules = (SimpleNamespace(auto_model=self.torch.encoder), self.torch.pooling)
            graph = SentenceGraph(modules, dimension=MODELS[self.name].hidden)
            write_fp32(graph, INPUTS, EMBEDDING, path)

        self._made(_EXPECTED, write_expected)
        fp32 = self._made("model.fp32.onnx", write_graph)
        self._made("model.fp16.onnx", lambda path: write_half(fp32, path, "fp16"))

    def _prepared(self, name: str) -> Path:
        path, failed = self.directory / name, self.directory / "failed.txt"
        if not path.exists() and not failed.exists():
            self.directory.mkdir(parents=True, exist_ok=True)
            command = [sys.executable, "-c", _PREPARE, json.dumps(asdict(self))]
            done = subprocess.run(
                command, env=own_environment(), capture_output=True, text=True, check=False
            )
            if done.returncode:
                failed.write_text(last_line(done.stderr))
        if not path.exists():
            msg = f"{name} could not be made: {failed.read_text()}"
            raise BenchmarkError(msg)
        return path

    def _made(self, name: str, write: Callable[[Path], None]) -> Path:
        path = self.directory / name
        if not path.exists():
            beside = path.with_name(f"partial.{name}")
            write(beside)
            beside.rename(path)
        return path


def prepare(model: str) -> None:
    """Make the files that need PyTorch, for a `Model` given as JSON."""
    Model(**json.loads(model)).prepare()


def own_environment() -> dict[str, str]:
    """Return an environment in which a process can import what this one can, installed or not."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
