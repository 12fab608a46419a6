"""The models in PyTorch, and that their answers tell a right subject from a wrong one."""

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

import torch

from lanner.errors import BenchmarkError
from lanner_perf.gpu.models import MODELS, inputs_of
from lanner_perf.gpu.subjects import subjects_of
from lanner_perf.gpu.torch_models import (
    GraphedTorchRun,
    Reference,
    SentenceVectors,
    TorchRun,
    random_model,
)
from lanner_perf.gpu.worker import LEAST_COSINE, least_cosine


@pytest.fixture(scope="module")
def minilm() -> SentenceVectors:
    return random_model(MODELS["MiniLM-L6"])


def test_its_attention_is_the_fused_one(minilm: SentenceVectors) -> None:
    assert minilm.encoder.config._attn_implementation == "sdpa"
    parameters = sum(p.numel() for p in minilm.encoder.parameters())
    assert parameters == 22_565_376  # of all-MiniLM-L6-v2, without its pooler


def test_vectors_are_means_of_what_the_mask_shows(minilm: SentenceVectors) -> None:
    inputs = inputs_of(3, 8)
    with torch.inference_mode():
        tensors = {name: torch.from_numpy(tensor) for name, tensor in inputs.items()}
        hidden = minilm.encoder(**tensors)[0].numpy()
    expected = np.stack([hidden[0].mean(0), hidden[1].mean(0), hidden[2, :7].mean(0)])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    run = TorchRun(minilm, device="cpu", half=False)
    np.testing.assert_allclose(run(inputs), expected, atol=1e-6)


def test_the_reference_is_the_same_in_parts(
    minilm: SentenceVectors, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lanner_perf.gpu.torch_models._REFERENCE_TOKENS", 40)
    inputs = inputs_of(5, 16)
    whole = TorchRun(minilm, device="cpu", half=False)(inputs)
    np.testing.assert_allclose(Reference(minilm, "cpu")(inputs), whole, atol=1e-6)


def off_diagonal(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    cosines = vectors @ vectors.T
    return np.asarray(cosines[~np.eye(len(vectors), dtype=bool)])


@pytest.mark.parametrize("length", [16, 128])
def test_half_precision_is_told_from_a_wrong_answer(minilm: SentenceVectors, length: int) -> None:
    inputs = inputs_of(4, length)
    expected = Reference(minilm, "cpu")(inputs)
    assert least_cosine(TorchRun(minilm, device="cpu", half=True)(inputs), expected) > 0.99999
    # Different texts have different vectors.
    assert off_diagonal(expected).max() < 0.95
    for wrong in (expected[::-1], expected * np.float32(np.nan)):
        with pytest.raises(BenchmarkError, match=r"not those of PyTorch in float32 \(smallest"):
            least_cosine(wrong, expected)
    assert least_cosine(2 * expected, expected) == pytest.approx(1)


@pytest.mark.gpu
@pytest.mark.parametrize("compiles", [False, True], ids=["plain", "compiled"])
def test_a_cuda_graph_answers_as_it_was_captured(minilm: SentenceVectors, compiles: bool) -> None:
    if compiles and (reason := subjects_of("cuda")["torch-fp16-compiled"].missing()):
        pytest.skip(reason)
    run = GraphedTorchRun(TorchRun(minilm, device="cuda", half=True, compiles=compiles))
    reference = Reference(minilm, "cuda")
    for batch, length in [(1, 16), (4, 16), (4, 32), (1, 16)]:
        inputs = inputs_of(batch, length)
        expected = reference(inputs)
        for _ in range(2):
            assert least_cosine(run(inputs), expected) > LEAST_COSINE
        # A captured run reads its inputs again at each launch.
        other = {**inputs, "input_ids": np.roll(inputs["input_ids"], 1, axis=1)}
        assert least_cosine(run(other), reference(other)) > LEAST_COSINE
