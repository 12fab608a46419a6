"""Reading a linear classifier of scikit-learn that skl2onnx wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from lanner.errors import CheckpointError, UnsupportedError
from lanner_export.graph.layers import Layer
from lanner_export.linear.head import LinearHead, named

_CLASSIFIER = "LinearClassifier"
#: Operators behind the classifier that only name, cast or divide its probabilities.
_AFTER = ("Normalizer", "ZipMap", "Cast", "Identity")


def read_onnx_head(
    path: Path, *, labels: Sequence[str] | None = None, normalizes: bool
) -> LinearHead:
    """Read a graph of one LinearClassifier of ONNX's operators for machine learning.

    Args:
        path: The file.
        labels: A name for each class that is a number, or None.
        normalizes: True if vectors are scaled to length 1 before it.

    Raises:
        CheckpointError: The file is damaged.
        UnsupportedError: The graph has other operators.
    """
    try:
        nodes = list(onnx.load(path, load_external_data=False).graph.node)
    except (DecodeError, OSError) as error:
        msg = f"{path} is not an ONNX file: {error}"
        raise CheckpointError(msg) from None
    others = [node.op_type for node in nodes if node.op_type not in (_CLASSIFIER, *_AFTER)]
    found = [node for node in nodes if node.op_type == _CLASSIFIER]
    if others or len(found) != 1:
        msg = (
            f"{path} has the operators {', '.join(node.op_type for node in nodes)[:200]}, and "
            "Lanner reads one LinearClassifier: convert a LogisticRegression with skl2onnx"
        )
        raise UnsupportedError(msg)
    attributes: dict[str, Any] = {
        item.name: onnx.helper.get_attribute_value(item) for item in found[0].attribute
    }
    classes: list[object] = [
        item.decode() if isinstance(item, bytes) else int(item)
        for item in attributes.get("classlabels_strings") or attributes.get("classlabels_ints", [])
    ]
    transform = attributes.get("post_transform", b"NONE").decode()
    if transform not in ("SOFTMAX", "LOGISTIC"):
        msg = f"{path} has a classifier without probabilities ({transform}): fit another"
        raise UnsupportedError(msg)
    weights = np.asarray(attributes.get("coefficients", []), np.float64)
    bias = np.asarray(attributes.get("intercepts", []), np.float64)
    if not classes or len(weights) % len(classes) or len(bias) != len(classes):
        msg = (
            f"{path} has {len(weights)} weights and {len(bias)} biases for {len(classes)} classes: "
            "convert it again"
        )
        raise CheckpointError(msg)
    divides = any(node.op_type == "Normalizer" for node in nodes)
    hidden = "log-sigmoid" if transform == "LOGISTIC" else "identity"
    # The two scores of two classes are each other's negative, so that their sigmoids add up to 1.
    is_multi_label = transform == "LOGISTIC" and not divides and len(classes) > 2
    if is_multi_label:
        hidden = "identity"
    layer = Layer(weights.reshape(len(classes), -1), bias, hidden)
    activation = "sigmoid" if is_multi_label else "softmax"
    return LinearHead((layer,), named(classes, labels, str(path)), activation, normalizes)
