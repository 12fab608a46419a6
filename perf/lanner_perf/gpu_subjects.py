"""The ways to run a model that `lanner_perf.gpu_bench` compares."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.artifact import Artifact
from lanner.engines import open_engine
from lanner.machine import this_machine
from lanner.selection import plans
from lanner_export.export import export
from lanner_perf.gpu_models import VOCABULARY, load_torch

Inputs = dict[str, NDArray[np.int64]]
Run = Callable[[Inputs], NDArray[np.float32]]
#: The command of this Python, whatever is on PATH.
_LANNER = [sys.executable, "-c", "import sys; from lanner.commands import main; sys.exit(main())"]


class Subject(NamedTuple):
    """One way to run a model.

    Attributes:
        name: What it is called.
        precision: Of its matrix products.
        open: Loads it.
    """

    name: str
    precision: str
    open: Callable[[], Run]


def inputs_of(batch: int, length: int) -> Inputs:
    """Random tokens; all of them count."""
    ids = np.random.default_rng(0).integers(5, VOCABULARY, (batch, length))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def subjects(checkpoint: Path, artifact: Path, device: str) -> Iterator[Subject]:
    """Every way to run a model; the first is PyTorch, as one uses it without Lanner."""
    half = device == "cuda"
    precision = "fp16" if half else "fp32"
    yield Subject(
        f"torch {precision} SDPA",
        precision,
        partial(torch_run, checkpoint, device=device, half=half),
    )
    made = Artifact.open(artifact)
    for variant in made.manifest.variants:
        if variant.engine == "onnxruntime" and (half or variant.precision == "fp32"):
            yield Subject(
                f"onnxruntime {variant.precision}",
                variant.precision,
                partial(_engine_run, made, variant.name, "onnxruntime", device),
            )
    for plan in plans(made):
        yield Subject(
            f"tensorrt {plan.precision}",
            plan.precision,
            partial(_engine_run, made, plan.name, "tensorrt", device),
        )


def make_artifact(
    checkpoint: Path, artifact: Path, device: str, most_texts: int
) -> list[dict[str, str]]:
    """Exports a checkpoint and builds its engines; what could not be built, and why.

    Raises:
        ExportError: The export failed.
    """
    precisions = ("fp32", "fp16") if device == "cuda" else ("fp32",)
    export(checkpoint, artifact, head="embed", precisions=precisions)
    if device == "cpu":
        return []
    command = [*_LANNER, "build-engine", str(artifact), "--max-batch-size", str(most_texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if not done.returncode:
        return []
    said = next(filter(None, reversed(done.stderr.splitlines())), "it said nothing").strip()
    return [{"subject": "tensorrt", "reason": said}]


def torch_run(checkpoint: Path, *, device: str, half: bool) -> Run:
    """PyTorch with mean pooling and normalisation, as the graph of an artifact has them."""
    import torch  # noqa: PLC0415

    model = load_torch(checkpoint, device=device, half=half)

    def run(inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            on_device = {name: torch.from_numpy(t).to(device) for name, t in inputs.items()}
            hidden = model(**on_device)[0].float()
            mask = on_device["attention_mask"][..., None].float()
            vectors = (hidden * mask).sum(1) / mask.sum(1)
            answer: NDArray[np.float32] = vectors.cpu().numpy()
            return answer

    return run


def _engine_run(artifact: Artifact, name: str, engine: str, device: str) -> Run:
    variant = artifact.choose(name)
    opened = open_engine(
        engine,
        artifact.file(variant.file),
        precision=variant.precision,
        threads=this_machine().cores,
        max_tokens=artifact.manifest.tokenizer.max_tokens,
        build=variant.build,
        device=device,
        inputs=artifact.manifest.inputs,
    )
    taken = set(artifact.manifest.inputs)

    def run(inputs: Inputs) -> NDArray[np.float32]:
        types = {"token_type_ids": np.zeros_like(inputs["input_ids"])}
        return opened.run({n: t for n, t in {**inputs, **types}.items() if n in taken})

    return run
