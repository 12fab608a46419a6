"""The files of a classifier beside an encoder: SetFit's, model2vec's, and scikit-learn's."""

from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.numpy import load_file

from lanner.errors import CheckpointError, MissingExtraError, UnsupportedError
from lanner.machine.extras import has_package
from lanner_export.checkpoint.modules import read_json
from lanner_export.graph.layers import Layer
from lanner_export.linear.estimators import Estimator, head_of
from lanner_export.linear.head import LinearHead, named
from lanner_export.linear.onnx_file import read_onnx_head
from lanner_export.linear.pickles import read_pickled

SETFIT_SETTINGS = "config_setfit.json"
#: The files of model2vec, the older of which scikit-learn wrote.
_MODEL2VEC, _MODEL2VEC_BEFORE = "head.safetensors", "pipeline.skops"
#: What trained an MLPClassifier stays in it; each has only numbers.
_TRAINERS = tuple(
    f"sklearn.neural_network._stochastic_optimizers.{name}Optimizer" for name in ("Adam", "SGD")
)
#: The files, those without a pickle first.
HEAD_FILES = (
    *("model_head.skops", "model_head.onnx", "model_head.pkl", "model_head.joblib"),
    *(_MODEL2VEC, _MODEL2VEC_BEFORE),
)


def head_file(directory: Path) -> Path | None:
    """Return the file of a classifier on top of the vectors of a directory, or None."""
    return next((path for name in HEAD_FILES if (path := directory / name).is_file()), None)


def read_head(path: Path) -> LinearHead:
    """Read the classifier of a file.

    Raises:
        CheckpointError: The file is damaged, or its settings are.
        UnsupportedError: It holds anything but a linear classifier.
        MissingExtraError: skops is not installed.
    """
    if path.name == _MODEL2VEC:
        return _model2vec(path)
    labels, normalizes = _settings(path.parent / SETFIT_SETTINGS)
    if path.suffix == ".onnx":
        return read_onnx_head(path, labels=labels, normalizes=normalizes)
    estimator = _skops(path) if path.suffix == ".skops" else read_pickled(path)
    return head_of(estimator, path, labels=labels, normalizes=normalizes)


def _settings(path: Path) -> tuple[list[str] | None, bool]:
    """Return SetFit's names of labels, and whether it scales vectors to length 1."""
    if not path.is_file():
        return None, False
    settings = read_json(path, "a model of SetFit needs its settings")
    labels = settings.get("labels")
    if labels is not None and not isinstance(labels, list):
        msg = f"{path} has labels that are not a list: give a name for each class"
        raise CheckpointError(msg)
    names = None if labels is None else [str(label) for label in labels]
    return names, bool(settings.get("normalize_embeddings"))


def _model2vec(path: Path) -> LinearHead:
    settings = read_json(path.parent / "config.json", "a pipeline of model2vec needs its settings")
    head: dict[str, Any] = dict(settings.get("head_config") or {})
    activation, classes = head.get("activation"), head.get("classes")
    if activation not in ("softmax", "sigmoid") or not isinstance(classes, list):
        msg = (
            f"{path.parent} has a head of model2vec that gives no labels ({activation}): pass "
            "--head embed to export its vectors without it"
        )
        raise UnsupportedError(msg)
    try:
        tensors = load_file(path)
        layers = [
            Layer(tensors[f"head.{i}.weight"], tensors[f"head.{i}.bias"], "relu")
            for i in range(int(head["n_layers"]))
        ]
        layers[-1] = Layer(layers[-1].weights, layers[-1].bias)
    except (SafetensorError, OSError, KeyError, IndexError, TypeError, ValueError) as error:
        msg = f"{path} does not hold the layers that config.json names ({error}): save it again"
        raise CheckpointError(msg) from None
    return LinearHead(tuple(layers), named(classes, None, str(path)), activation)


def _skops(path: Path) -> Estimator:
    """Load a classifier by skops, which makes only types of scikit-learn and numpy."""
    if not has_package("skops"):
        what = f"reading {path.name} without running code"
        raise MissingExtraError(what, "skops", "skops")
    import skops.io  # noqa: PLC0415 (an extra)

    try:
        untrusted = skops.io.get_untrusted_types(file=path)
        others = [name for name in untrusted if name not in _TRAINERS]
        if others:
            msg = f"{path} holds {others[0]}, which skops does not trust: save it without"
            raise UnsupportedError(msg)
        found = skops.io.load(path, trusted=untrusted)
    except UnsupportedError:
        raise
    except Exception as error:  # a damaged file can fail in any way
        reason = " ".join(str(error).split())[:200]
        msg = f"skops cannot read {path}: {reason}"
        raise CheckpointError(msg) from error
    return Estimator(type(found).__name__, vars(found))
