"""The int8 that is usually made by hand: the stock exporter, then the stock `quantize_dynamic`.

    python -m lanner_perf.peers.stock CHECKPOINT FILE

Nothing here is Lanner's, so the gain of Lanner's graph is measured against what exists without it:
`torch.onnx.export` of the unchanged modules, and `quantize_dynamic` of ONNX Runtime, both with
their defaults.
"""

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from lanner_perf.subjects.subject import SubjectError, last_line, subject_environment

_INPUTS = ("input_ids", "attention_mask")


def make_stock(checkpoint: str, path: Path) -> None:
    """Run this file on a checkpoint, in a process of its own.

    Raises:
        SubjectError: It failed; the message is its last line.
    """
    command = [sys.executable, "-m", "lanner_perf.peers.stock", checkpoint, str(path)]
    environment = subject_environment(1)
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SubjectError(last_line(done.stderr))


def write_stock_dynamic(checkpoint: str, path: Path) -> None:
    """Export a checkpoint of sentence-transformers and quantize it, both the usual way.

    Args:
        checkpoint: Its directory.
        path: The int8 ONNX file to write.
    """
    import torch  # noqa: PLC0415 (the harness, which only starts this file, does not need it)
    from onnxruntime.quantization import quantize_dynamic  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415

    class Modules(torch.nn.Module):
        def __init__(self, model: Any) -> None:
            super().__init__()
            transformer, *rest = model
            self.transformer = transformer.auto_model
            self.rest = torch.nn.ModuleList(rest)

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            hidden = self.transformer(input_ids=input_ids, attention_mask=attention_mask)[0]
            features = {"token_embeddings": hidden, "attention_mask": attention_mask}
            for module in self.rest:
                features = module(features)
            vectors: torch.Tensor = features["sentence_embedding"]
            return vectors

    ids = torch.ones((2, 8), dtype=torch.int64)
    with tempfile.TemporaryDirectory(dir=path.parent) as work:
        fp32 = Path(work) / "model.onnx"
        torch.onnx.export(
            Modules(SentenceTransformer(checkpoint, device="cpu")).eval(),
            (ids, torch.ones_like(ids)),
            fp32,
            dynamo=True,
            input_names=list(_INPUTS),
            output_names=["sentence_embedding"],
            dynamic_shapes={name: {0: "batch", 1: "length"} for name in _INPUTS},
        )
        quantize_dynamic(fp32, path)


if __name__ == "__main__":
    write_stock_dynamic(sys.argv[1], Path(sys.argv[2]))
