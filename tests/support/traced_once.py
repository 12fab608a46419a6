"""A cache of traced tiny models: tracing one takes five seconds, so each is traced once."""

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.made_once import made_once

#: A model with more weights is traced each time, because hashing and keeping it would cost too
#: much.
MOST_WEIGHTS = 1_000_000


class TracedOnce:
    """A stand-in for `write_fp32` in an export, which returns the graph of an equal model.

    An export still compares its graph with its checkpoint, so the graph of another model would
    fail.
    """

    def __init__(self, factory: pytest.TempPathFactory) -> None:
        self._factory = factory

    def __call__(
        self,
        graph: Any,
        inputs: Sequence[str],
        output: str,
        path: Path,
        *,
        without_passes: Collection[str] = (),
    ) -> list[str]:
        from lanner_export.graph.model_file import load, save  # noqa: PLC0415
        from lanner_export.graph.tracing import write_fp32  # noqa: PLC0415

        def write(to: Path) -> list[str]:
            with pytest.MonkeyPatch.context() as monkeypatch:
                read_operators_once(monkeypatch)
                return write_fp32(graph, inputs, output, to, without_passes=without_passes)

        def make(directory: Path) -> None:
            directory.mkdir()
            passes = write(directory / "graph.onnx")
            (directory / "passes.json").write_text(json.dumps(passes))

        if sum(weight.numel() for weight in graph.parameters()) > MOST_WEIGHTS:
            return write(path)
        names = [*inputs, output, *sorted(without_passes)]
        made = made_once(self._factory, f"graph-{digest_of(graph, names)}", make)
        save(load(made / "graph.onnx"), path)  # in one file or two, by this test's limit
        passes: list[str] = json.loads((made / "passes.json").read_text())
        return passes


def read_operators_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep torch's table of operators, which it makes anew for each graph, in most of a second."""
    from torch.onnx._internal.exporter._registration import ONNXRegistry  # noqa: PLC0415

    read = partial(_read_once, ONNXRegistry.from_torchlib)
    monkeypatch.setattr(ONNXRegistry, "from_torchlib", read)


@cache
def _read_once(read: Callable[..., Any], **options: Any) -> Any:
    return read(**options)


def digest_of(graph: Any, names: list[str]) -> str:
    """Return a digest of all that makes up a model: its modules, their options, its weights."""
    options = {name: value for name, value in vars(graph).items() if not name.startswith("_")}
    config = graph.transformer.config
    settings = {**config.to_dict(), "_name_or_path": "", "by": config._attn_implementation}
    digest = hashlib.sha256(repr((names, repr(graph), options, settings)).encode())
    for name, tensor in [*graph.named_parameters(), *graph.named_buffers()]:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)} ".encode())
        digest.update(tensor.detach().numpy().tobytes())
    return digest.hexdigest()[:24]
