"""The attributes and arguments that programs for sentence-transformers expect of a model."""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Self, TypedDict, TypeVar

import numpy as np
from numpy.typing import NDArray

from lanner.artifact.manifest import Manifest
from lanner.errors import InputError, MissingExtraError, UnsupportedError
from lanner.models.inputs import text_list
from lanner.running.batching import pad
from lanner.text.tokenization import TextTokenizer, Tokenizer, check_texts
from lanner.text.words import WordTokenizer

if TYPE_CHECKING:
    import torch

Values = TypeVar("Values", bound=NDArray[Any] | np.float32)


class ThisProcess:
    """A pool of one process: this one, whose model takes all its cores anyway."""

    def __repr__(self) -> str:
        return "<this process>"


THIS_PROCESS = ThisProcess()

#: The arguments of sentence-transformers that a model accepts only with these values, and the
#: remedy for other values.
_OWN_VALUES: dict[str, tuple[tuple[object, ...], str]] = {
    "output_value": (
        ("sentence_embedding",),
        "it answers a vector for each text, and none for its tokens",
    ),
    "device": ((None, "cpu"), "pass device to lanner.load"),
    "pool": ((None, THIS_PROCESS), "one process takes all cores, so leave it out"),
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


def require_own(name: str, options: Mapping[str, object]) -> None:
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


class DropIn:
    """The methods of a `SentenceTransformer` that other programs call, besides those that encode.

    Attributes:
        truncate_dim: The leading dimensions that `encode` keeps by default; None for all.
    """

    manifest: Manifest
    tokenizer: TextTokenizer
    truncate_dim: int | None = None

    def to(self, device: object = None) -> Self:
        """Return the model itself: `lanner.load` decides where it runs.

        Raises:
            UnsupportedError: `device` is another device than the CPU.
        """
        require_own(self.manifest.name, {"device": device})
        return self

    def eval(self) -> Self:
        """Return the model itself, which never trains."""
        return self

    @contextmanager
    def truncate_sentence_embeddings(self, truncate_dim: int | None) -> Iterator[None]:
        """Let `encode` keep this number of leading dimensions within a block; None for all."""
        before, self.truncate_dim = self.truncate_dim, truncate_dim
        try:
            yield
        finally:
            self.truncate_dim = before

    def tokenize(self, texts: Iterable[str]) -> "dict[str, torch.Tensor]":
        """Return the token ids of texts as torch tensors, padded on the right.

        Args:
            texts: A sequence of texts, with their prompt if they have one.

        Returns:
            ``input_ids`` and ``attention_mask``, int64 [n, longest], and ``token_type_ids`` if the
            model has them.

        Raises:
            InputTypeError: An item is not a string; the message names its index.
            MissingExtraError: torch is not installed.
            UnsupportedError: A server tokenises the texts of this model.
        """
        own = self.tokenizer
        if not isinstance(own, Tokenizer | WordTokenizer):
            msg = (
                f"the server tokenises for {self.manifest.name}: connect to the model without _text"
            )
            raise UnsupportedError(msg)
        listed = text_list(texts, "tokenize")
        check_texts(listed)
        ids, mask = pad(own.encode(listed), self.manifest.tokenizer.pad_token_id)
        found = {"input_ids": ids, "attention_mask": mask}
        if "token_type_ids" in self.manifest.inputs:
            found["token_type_ids"] = np.zeros_like(ids)
        return {name: as_tensor(values) for name, values in found.items()}

    def start_multi_process_pool(self, target_devices: list[str] | None = None) -> ThisProcess:
        """Return a stand-in for a pool: one process takes all cores, without copies of the model.

        Args:
            target_devices: None, or a list of ``"cpu"``.

        Raises:
            UnsupportedError: There is another device.
        """
        for device in target_devices or ():
            require_own(self.manifest.name, {"device": device})
        return THIS_PROCESS

    @staticmethod
    def stop_multi_process_pool(pool: ThisProcess) -> None:
        """Do nothing: there is no process to end."""
        del pool

    def encode_multi_process(
        self,
        sentences: Iterable[str],
        pool: ThisProcess,
        prompt_name: str | None = None,
        prompt: str | None = None,
        batch_size: int = 32,
        chunk_size: int | None = None,
        show_progress_bar: bool | None = None,
        **options: object,
    ) -> NDArray[np.float32 | np.int8 | np.uint8]:
        """Call `encode`.

        Args:
            sentences: See `encode`.
            pool: The result of `start_multi_process_pool`.
            prompt_name: See `encode`.
            prompt: See `encode`.
            batch_size: See `encode`.
            chunk_size: Without effect: there is one process.
            show_progress_bar: See `encode`.
            options: See `encode`.

        Raises:
            UnsupportedError: It is another pool.
        """
        del chunk_size
        own: Any = self
        how = {**options, "pool": pool}
        vectors: NDArray[np.float32 | np.int8 | np.uint8] = own.encode(
            sentences, prompt_name, prompt, batch_size, show_progress_bar, **how
        )
        return vectors


def as_tensor(values: NDArray[Any] | np.float32) -> "torch.Tensor":
    """Return the same numbers as a torch tensor.

    Raises:
        MissingExtraError: torch is not installed.
    """
    try:
        import torch  # noqa: PLC0415 (only if a tensor is asked for)
    except ImportError:
        what, extra, module = "convert_to_tensor=True", "export", "torch"
        raise MissingExtraError(what, extra, module) from None
    return torch.from_numpy(np.asarray(values))


def converted(
    values: Values, *, is_single: bool, to_numpy: bool, to_tensor: bool
) -> "Values | torch.Tensor | list[torch.Tensor]":
    """Return vectors or scores in the form that the switches of sentence-transformers ask for.

    Args:
        values: An array of all inputs, or of the single one.
        is_single: True if the caller passed one input instead of a list.
        to_numpy: False gives a list of torch tensors, one per input.
        to_tensor: True gives one torch tensor, whatever `to_numpy` says.

    Raises:
        MissingExtraError: A tensor is asked for, and torch is not installed.
    """
    if to_numpy and not to_tensor:
        return values
    tensor = as_tensor(values)
    return tensor if to_tensor or is_single else list(tensor)
