"""Dense modules of sentence-transformers behind static vectors."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.numpy import load_file

from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.checkpoint.modules import read_json, require_safetensors
from lanner_export.graph.layers import Layer

#: Activations of torch -> those of `Layer`.
_ACTIVATIONS = {
    "torch.nn.modules.linear.Identity": "identity",
    "torch.nn.modules.activation.ReLU": "relu",
    "torch.nn.modules.activation.Tanh": "tanh",
    "torch.nn.modules.activation.Sigmoid": "sigmoid",
}
_WEIGHTS_FILE = "model.safetensors"
#: Where the module reads and writes in a model of sentence vectors.
_VECTORS = "sentence_embedding"


def read_dense(directory: Path) -> Layer:
    """Return the layer of a Dense module.

    Raises:
        CheckpointError: Its files are missing or damaged.
        UnsupportedError: Its activation is another than `Layer` has, or it adds its input.
    """
    config = read_json(directory / "config.json", "a Dense module needs its config")
    name = str(config.get("activation_function"))
    places = {config.get(f"module_{end}_name") or _VECTORS for end in ("input", "output")}
    if name not in _ACTIVATIONS or places != {_VECTORS} or config.get("use_residual"):
        msg = (
            f"{directory} has the activation {name}, a residual or other places than {_VECTORS}: "
            f"behind static vectors Lanner exports Dense with {', '.join(_ACTIVATIONS)}"
        )
        raise UnsupportedError(msg)
    require_safetensors(directory, is_needed=True)
    try:
        tensors = load_file(directory / _WEIGHTS_FILE)
        weights = tensors["linear.weight"]
    except (SafetensorError, OSError, KeyError) as error:
        msg = f"{directory} has no whole {_WEIGHTS_FILE} ({error}): save the checkpoint again"
        raise CheckpointError(msg) from None
    bias = tensors.get("linear.bias", 0 * weights[:, 0])
    return Layer(weights, bias, _ACTIVATIONS[name])
