"""The models in PyTorch, and whether what they answer tells a right subject from a wrong one."""

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("onnx", reason="needs the export extra")
pytest.importorskip("torch", reason="needs the export extra")

import torch

from lanner.errors import BenchmarkError
from lanner_perf.gpu_models import MODELS, inputs_of
from lanner_perf.gpu_subjects import Model
from lanner_perf.gpu_torch import (
    GraphedTorchRun,
    Reference,
    SentenceVectors,
    TorchRun,
    random_model,
)
from lanner_perf.gpu_worker import LEAST_COSINE, least_cosine


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
    monkeypatch.setattr("lanner_perf.gpu_torch._REFERENCE_TOKENS", 40)
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
    assert least_cosine(TorchRun(minilm, device="cpu", half=True)(inputs), expected) > 0.9999
    # Of other texts the vectors are other ones.
    assert off_diagonal(expected).max() < LEAST_COSINE
    for wrong in (expected[::-1], expected * np.float32(np.nan)):
        with pytest.raises(BenchmarkError, match=r"not those of PyTorch in float32 \(smallest"):
            least_cosine(wrong, expected)
    assert least_cosine(2 * expected, expected) == pytest.approx(1)


def test_the_graphs_answer_as_pytorch_does(minilm: SentenceVectors, tmp_path: Path) -> None:
    from lanner.engines.onnxruntime import OnnxRuntimeEngine  # noqa: PLC0415
    from lanner_export.half_precision import write_emulation  # noqa: PLC0415

    model = Model(MODELS["MiniLM-L6"], "cpu", tmp_path / "MiniLM-L6", 4, [16])
    inputs = inputs_of(4, 16)
    expected = Reference(minilm, "cpu")(inputs)
    fp32 = OnnxRuntimeEngine(model.onnx("fp32")).run(inputs)
    np.testing.assert_allclose(fp32, expected, atol=1e-5)
    # As it rounds on a GPU.
    write_emulation(model.onnx("fp16"), tmp_path / "emulation.onnx")
    fp16 = OnnxRuntimeEngine(tmp_path / "emulation.onnx").run(inputs)
    assert least_cosine(fp16, expected) > 0.9999
    names = {path.name for path in (tmp_path / "MiniLM-L6").iterdir()}
    assert names == {"model.fp32.onnx", "model.fp16.onnx"}


def test_what_cannot_be_made_is_not_tried_twice(tmp_path: Path) -> None:
    blocked = tmp_path / "tiny"
    (blocked / "partial.model.fp32.onnx").mkdir(parents=True)
    reason = r"^model.fp32.onnx could not be made: .*directory"
    for _ in range(2):
        with pytest.raises(BenchmarkError, match=reason):
            Model(MODELS["tiny"], "cpu", blocked, 1, [8]).onnx("fp32")
    (blocked / "partial.model.fp32.onnx").rmdir()
    with pytest.raises(BenchmarkError, match=reason):
        Model(MODELS["tiny"], "cpu", blocked, 1, [8]).onnx("fp32")


@pytest.mark.gpu
@pytest.mark.parametrize("compiles", [False, True], ids=["plain", "compiled"])
def test_a_cuda_graph_answers_as_it_was_captured(minilm: SentenceVectors, compiles: bool) -> None:
    run = GraphedTorchRun(TorchRun(minilm, device="cuda", half=True, compiles=compiles))
    reference = Reference(minilm, "cuda")
    for batch, length in [(1, 16), (4, 16), (4, 32), (1, 16)]:
        inputs = inputs_of(batch, length)
        expected = reference(inputs)
        for _ in range(2):
            assert least_cosine(run(inputs), expected) > LEAST_COSINE
        # A captured run reads what it is given anew.
        other = {**inputs, "input_ids": np.roll(inputs["input_ids"], 1, axis=1)}
        assert least_cosine(run(other), reference(other)) > LEAST_COSINE
