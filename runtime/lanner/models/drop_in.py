"""The attributes and arguments that programs for sentence-transformers expect of a model."""

from typing import Any, TypedDict

from lanner.errors import InputError, UnsupportedError

#: The arguments of sentence-transformers that a model accepts only with these values, and the
#: remedy for other values.
_OWN_VALUES: dict[str, tuple[tuple[object, ...], str]] = {
    "output_value": (
        ("sentence_embedding",),
        "it answers a vector for each text, and none for its tokens",
    ),
    "device": ((None, "cpu"), "pass device to lanner.load"),
    "pool": ((None,), "one process takes all cores, so leave it out"),
    "chunk_size": ((None,), "leave it out"),
    "activation_fn": ((None,), "it applies that of its checkpoint; apply others to model.logits"),
    "apply_softmax": ((None, False), "it applies the activation of its checkpoint"),
}


class DropInOptions(TypedDict, total=False):
    """Arguments of sentence-transformers that change nothing here, or are refused."""

    device: object
    pool: object
    chunk_size: int | None


class EncodeDropIns(DropInOptions, total=False):
    """Those of `SentenceTransformer.encode`."""

    output_value: str | None


class PredictDropIns(DropInOptions, total=False):
    """Those of `CrossEncoder.predict`."""

    activation_fn: object
    apply_softmax: bool | None


def require_own(name: str, options: DropInOptions) -> None:
    """Check arguments of sentence-transformers that have no meaning here.

    Args:
        name: The name of the model.
        options: The arguments that were given.

    Raises:
        UnsupportedError: An argument asks for something that the model does not do.
    """
    for option, value in options.items():
        if option not in _OWN_VALUES:
            msg = f"got an unexpected keyword argument {option!r}"
            raise TypeError(msg)
        own, remedy = _OWN_VALUES[option]
        given = str(value) if type(value).__module__ == "torch" else value  # a torch.device
        if given not in own:
            msg = f"{name} does not take {option}={value!r}: {remedy}"
            raise UnsupportedError(msg)


def given_inputs(sentences: Any, inputs: Any) -> Any:
    """Return the inputs of a call, under either of their names.

    Raises:
        InputError: Both names were given.
    """
    if inputs is None:
        return sentences
    if sentences is not None:
        msg = "give the texts as sentences or as inputs, their name in sentence-transformers 6"
        raise InputError(msg)
    return inputs


class ModelCardData:
    """The results of evaluators, which call `set_evaluation_metrics` on every model.

    Attributes:
        base_model: The checkpoint and the variant: what a cache of vectors tells models by.
        model_name: The artifact and the variant, in the form of the hub, for the results of mteb.
        base_model_revision: None.
    """

    base_model_revision = None

    def __init__(self, name: str, checkpoint: str, variant: str) -> None:
        self.base_model = f"{checkpoint} ({variant})"
        self.model_name = f"lanner/{name}-{variant}"
        #: Evaluator's name -> its metrics, in the order in which they were run.
        self.evaluations: dict[str, dict[str, float]] = {}

    def set_evaluation_metrics(
        self,
        evaluator: Any,
        metrics: dict[str, float],
        epoch: int = 0,
        step: int = 0,
    ) -> None:
        """Store the results of an evaluator of sentence-transformers, which calls this."""
        name = getattr(evaluator, "name", "") or type(evaluator).__name__
        self.evaluations[name] = dict(metrics)
