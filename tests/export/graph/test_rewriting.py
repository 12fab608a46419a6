from pathlib import Path

import numpy as np
import pytest
from tests.support.checkpoints import bert_checkpoint, bert_model, plain_checkpoint

from lanner.errors import UnsupportedError

transformers = pytest.importorskip("transformers", reason="needs the export extra")
torch = pytest.importorskip("torch", reason="needs the export extra")

import onnx_ir as ir  # noqa: E402
from tests.support.graphs import answers, unequal_lengths  # noqa: E402

from lanner_export.graph.lookup import LookupTable  # noqa: E402
from lanner_export.graph.rewriting import PASSES, require_passes, rewrite  # noqa: E402
from lanner_export.graph.tracing import write_fp32  # noqa: E402
from lanner_export.loading import load_checkpoint  # noqa: E402

NAMES = [item.name for item in PASSES]
MASK = unequal_lengths((9, 4, 1))
FEED = {
    "input_ids": np.random.default_rng(0).integers(5, 60, MASK.shape) * MASK,
    "attention_mask": MASK,
}


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write `bert_checkpoint` with biases that are not zero, as in a trained model."""
    directory = bert_checkpoint(tmp_path_factory.mktemp("biased") / "model", dense=False)
    model = bert_model()
    torch.manual_seed(3)
    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, mean=float(name.endswith("Norm.weight")), std=0.1)
    plain_checkpoint(directory, model)
    return directory


@pytest.fixture(scope="module")
def traced(checkpoint: Path) -> Path:
    """Return the graph as torch traced it."""
    path = checkpoint.with_name("traced.onnx")
    loaded = load_checkpoint(str(checkpoint))
    assert not isinstance(loaded.graph, LookupTable)
    graph, inputs, output = loaded.graph, loaded.inputs, loaded.output
    assert write_fp32(graph, inputs, output, path, without_passes=NAMES) == []
    return path


#: Passes that find nothing in a Sentence-BERT.
OF_OTHERS = {"products-of-convolutions"}
# Without the first pass, transposes stand between, and the biases of values are not found.
NEEDED = {"attention-without-transposes": {"move-value-bias"}}


@pytest.mark.parametrize("name", [None, *NAMES], ids=lambda name: name or "none left out")
def test_every_pass_but_one_finds_something_in_a_sentence_bert(
    traced: Path, name: str | None
) -> None:
    model = ir.load(traced)
    (expected,) = answers(model, FEED)
    left_out = {name, *NEEDED.get(name or "", ()), *OF_OTHERS}
    if transformers.__version__.startswith("4."):
        left_out.add("one-mask")  # its mask consists of floats that are added to the scores
    assert rewrite(model, without=[name] if name else []) == [n for n in NAMES if n not in left_out]
    (found,) = answers(model, FEED)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5)


def test_an_unknown_pass_is_refused() -> None:
    require_passes(NAMES)
    known = ", ".join(NAMES)
    assert known.startswith("slice-positions, products-of-convolutions, attention-")
    with pytest.raises(
        UnsupportedError,
        match=rf"^there is no graph pass 'nonsense': leave out some of {known}$",
    ):
        require_passes(["one-mask", "nonsense"])
