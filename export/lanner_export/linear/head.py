"""The record of a classifier on top of vectors, whatever library saved it."""

from collections.abc import Sequence
from dataclasses import dataclass

from lanner.errors import CheckpointError
from lanner_export.graph.layers import Layer


@dataclass(frozen=True)
class LinearHead:
    """A classifier on top of vectors.

    Attributes:
        layers: Its layers; the last gives the logits.
        labels: A name for each logit, in order.
        activation: What turns the logits into probabilities: ``"softmax"`` or ``"sigmoid"``.
        normalizes: True if vectors are scaled to length 1 before the first layer.
    """

    layers: tuple[Layer, ...]
    labels: list[str]
    activation: str
    normalizes: bool = False

    def require_fits(self, width: int, checkpoint: str) -> None:
        """Check the shapes of the layers and the labels.

        Args:
            width: The width of the vectors.
            checkpoint: The name of the checkpoint, for messages.

        Raises:
            CheckpointError: They do not fit together, or there are fewer than two labels.
        """
        for layer in self.layers:
            if layer.weights.ndim != 2 or layer.weights.shape[1] != width:
                msg = (
                    f"{checkpoint} has a classifier with weights of shape {layer.weights.shape}, "
                    f"and its vectors have {width} numbers: save the two again, together"
                )
                raise CheckpointError(msg)
            width = len(layer.weights)
            if layer.bias.shape != (width,):
                msg = f"{checkpoint} has a classifier with {layer.bias.shape} biases for {width}"
                raise CheckpointError(msg)
        if not self.layers or len(self.labels) != width or len(set(self.labels)) != width:
            msg = (
                f"the classifier of {checkpoint} has {width} outputs and the labels "
                f"{', '.join(self.labels[:5])}: give each output a label of its own"
            )
            raise CheckpointError(msg)


def named(classes: Sequence[object], labels: Sequence[str] | None, checkpoint: str) -> list[str]:
    """Return the names of classes: themselves, or those that their numbers stand for.

    Args:
        classes: The classes, as the classifier knows them.
        labels: A name for each class that is a number from 0 on, or None.
        checkpoint: The name of the checkpoint, for messages.

    Raises:
        CheckpointError: A class has no label.
    """
    names = []
    for item in classes:
        if labels is None or isinstance(item, str):
            names.append(str(item))
            continue
        if not isinstance(item, int) or not 0 <= item < len(labels):
            msg = f"{checkpoint} has the class {item!r} and {len(labels)} labels: give each one"
            raise CheckpointError(msg)
        names.append(str(labels[item]))
    return names
