"""The models of `lanner_perf.gpu.models` in PyTorch.

PyTorch runs the same module from which the graphs of all other subjects are exported. In float32 it
also gives the answers that all others are compared with. So no checkpoint, tokenizer or hub is
needed.
"""

import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lanner_export.graph.tensors import EMBEDDING, INPUTS
from lanner_perf.gpu.models import MOST_TOKENS, VOCABULARY, Inputs, Shape

#: The most tokens in a run of the reference, whose float32 attention takes gigabytes.
_REFERENCE_TOKENS = 16_384
#: Runs before a capture, in which cuBLAS and the compiler allocate what they may not allocate in a
#: graph.
_RUNS_BEFORE_CAPTURE = 3


class MeanVector(torch.nn.Module):
    """The mean of the tokens' vectors, normalized, as sentence-transformers' modules compute it."""

    def forward(self, features: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Pool float [batch, length, width] with a mask, int64 [batch, length]: [batch, width]."""
        hidden = features["token_embeddings"]
        mask = features["attention_mask"].unsqueeze(-1).expand(hidden.size()).to(hidden.dtype)
        mean = (hidden * mask).sum(1) / mask.sum(1).clamp(min=1e-9)
        return {EMBEDDING: torch.nn.functional.normalize(mean, p=2, dim=1)}


class SentenceVectors(torch.nn.Module):
    """A model from token ids to sentence vectors.

    Args:
        encoder: A model of transformers.
    """

    def __init__(self, encoder: Any) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = MeanVector()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        """Return float [batch, width] for ids and mask, both int64 [batch, length]."""
        hidden = self.encoder(input_ids=input_ids, attention_mask=attention_mask)[0]
        features = {"token_embeddings": hidden, "attention_mask": attention_mask}
        vectors: torch.Tensor = self.pooling(features)[EMBEDDING]
        return vectors


def random_model(shape: Shape, *, seed: int = 0) -> SentenceVectors:
    """Return a BERT of random weights with its pooling, float32, on the CPU.

    Its attention is PyTorch's fused one (scaled_dot_product_attention).
    """
    from transformers import AutoModel, BertConfig  # noqa: PLC0415 (slow to import)

    torch.manual_seed(seed)
    config = BertConfig(
        vocab_size=VOCABULARY,
        hidden_size=shape.hidden,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        intermediate_size=shape.inner,
        max_position_embeddings=MOST_TOKENS,
    )
    encoder = AutoModel.from_config(config, attn_implementation="sdpa", add_pooling_layer=False)
    # A component common to all tokens dominates the mean, and all texts would get nearly one
    # vector.
    torch.nn.init.zeros_(encoder.embeddings.token_type_embeddings.weight)
    return SentenceVectors(encoder).eval()


class TorchRun:
    """A model in PyTorch, called as people call it without Lanner.

    Args:
        model: The model, which stays as it is.
        device: ``"cuda"`` or ``"cpu"``.
        half: True to use fp16 weights and products.
        compiles: True to let torch.compile make kernels for it, for any shape.
    """

    def __init__(
        self, model: SentenceVectors, *, device: str, half: bool, compiles: bool = False
    ) -> None:
        own = copy.deepcopy(model).to(device)
        self.model: Any = own.half() if half else own
        if compiles:
            self.model = torch.compile(self.model, dynamic=True)
        self._device = device

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        with torch.inference_mode():
            ids, mask = (torch.from_numpy(inputs[name]).to(self._device) for name in INPUTS)
            vectors: NDArray[np.float32] = self.model(ids, mask).float().cpu().numpy()
        return vectors


class GraphedTorchRun:
    """A model in PyTorch as a CUDA graph of the latest shape: one launch for each run.

    Args:
        run: The model.
    """

    def __init__(self, run: TorchRun) -> None:
        self._model = run.model
        self._shape: tuple[int, ...] = ()
        self._graph: Any = None

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        tensors = [torch.from_numpy(inputs[name]) for name in INPUTS]
        with torch.inference_mode():
            if tensors[0].shape != self._shape:
                self._capture(tensors)
            for host, device, tensor in zip(self._hosts, self._inputs, tensors, strict=True):
                host.copy_(tensor)
                device.copy_(host, non_blocking=True)
            self._graph.replay()
            self._answer.copy_(self._vectors, non_blocking=True)
            torch.cuda.current_stream().synchronize()
            vectors: NDArray[np.float32] = self._answer.numpy().copy()
        return vectors

    def _capture(self, tensors: list[torch.Tensor]) -> None:
        # Free the memory of the last graph first.
        self._graph, self._shape = None, ()
        self._hosts = [tensor.pin_memory() for tensor in tensors]
        self._inputs = [tensor.to("cuda") for tensor in tensors]
        # transformers keeps the mask while capturing, but otherwise drops a mask that hides
        # nothing. The warm-up must run the code that is captured, so this mask hides a token.
        self._inputs[1][-1, -1] = 0
        # See https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
        beside = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            for _ in range(_RUNS_BEFORE_CAPTURE):
                self._model(*self._inputs)
        torch.cuda.current_stream().wait_stream(beside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._vectors = self._model(*self._inputs).float()
        self._answer = torch.empty(self._vectors.shape, pin_memory=True)
        self._graph, self._shape = graph, tensors[0].shape


class Reference:
    """The float32 answers of a model, without TF32, on the measured device.

    Args:
        model: The model.
        device: ``"cuda"`` or ``"cpu"``.
    """

    def __init__(self, model: SentenceVectors, device: str) -> None:
        # NVIDIA's containers turn TF32 on.
        torch.set_float32_matmul_precision("highest")
        self._run = TorchRun(model, device=device, half=False)

    def __call__(self, inputs: Inputs) -> NDArray[np.float32]:
        """Return the vectors, computed in parts that fit into the GPU's memory."""
        batch, length = inputs["input_ids"].shape
        rows = max(1, _REFERENCE_TOKENS // length)
        parts = [
            self._run({name: tensor[start : start + rows] for name, tensor in inputs.items()})
            for start in range(0, batch, rows)
        ]
        return np.concatenate(parts)
