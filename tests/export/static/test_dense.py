import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lanner.errors import CheckpointError, UnsupportedError

pytest.importorskip("torch", reason="needs the export extra")

from safetensors.numpy import save_file

from lanner_export.static.dense import read_dense

TANH = "torch.nn.modules.activation.Tanh"
KNOWN = (
    "torch.nn.modules.linear.Identity, torch.nn.modules.activation.ReLU, "
    "torch.nn.modules.activation.Tanh, torch.nn.modules.activation.Sigmoid"
)


def write(directory: Path, tensors: dict[str, Any], **settings: Any) -> Path:
    content = {"activation_function": TANH, **settings}
    (directory / "config.json").write_text(json.dumps(content))
    save_file(tensors, directory / "model.safetensors")
    return directory


def test_without_a_bias_it_is_zero(tmp_path: Path) -> None:
    weights = np.arange(6, dtype=np.float32).reshape(2, 3)
    layer = read_dense(write(tmp_path, {"linear.weight": weights}))
    np.testing.assert_array_equal(layer.weights, weights)
    assert (layer.bias.tolist(), layer.activation) == ([0, 0], "tanh")


@pytest.mark.parametrize(
    "settings",
    [
        {"activation_function": "torch.nn.modules.activation.GELU"},
        {"use_residual": True},
        {"module_input_name": "token_embeddings"},
    ],
    ids=["activation", "residual", "place"],
)
def test_what_behind_static_vectors_is_not_exported(
    tmp_path: Path, settings: dict[str, Any]
) -> None:
    write(tmp_path, {"linear.weight": np.zeros((2, 3))}, **settings)
    message = (
        f"{tmp_path} has the activation {settings.get('activation_function', TANH)}, a residual or "
        "other places than sentence_embedding: behind static vectors Lanner exports Dense with "
        f"{KNOWN}"
    )
    with pytest.raises(UnsupportedError, match=f"^{re.escape(message)}$"):
        read_dense(tmp_path)


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    write(tmp_path, {"other": np.zeros((2, 3))})
    message = (
        f"{tmp_path} has no whole model.safetensors ('linear.weight'): save the checkpoint again"
    )
    with pytest.raises(CheckpointError, match=f"^{re.escape(message)}$"):
        read_dense(tmp_path)
