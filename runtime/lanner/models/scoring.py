"""The head `score`: a number per pair, from a cross-encoder or a fine-tuned pair classifier."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, cast, overload

import numpy as np

from lanner.artifact.activation import Scores
from lanner.errors import InputTypeError, UnsupportedError
from lanner.models.drop_in import PredictDropIns, converted, given_inputs, require_own
from lanner.models.inputs import require_count, text_list
from lanner.models.logits import LogitsModel
from lanner.text.lengths import INPUT_CHOICES, OnLongInput, require_on_long, tell_long
from lanner.text.tokenization import Pair
from lanner.vectors.precision import Vector

if TYPE_CHECKING:
    import torch

    Predicted = np.float32 | Vector[np.float32] | torch.Tensor | list[torch.Tensor]

OnePair = Pair | list[str]
ManyPairs = Sequence[Pair] | Sequence[Sequence[str]]
Pairs = OnePair | ManyPairs


class PromptedOptions(PredictDropIns, total=False):
    """The arguments of `predict` by name that do not change the type of its answer."""

    prompt_name: str | None
    prompt: str | None
    on_long: OnLongInput


class PredictOptions(PromptedOptions, total=False):
    """Those of `predict` that `rank` passes on."""

    show_progress_bar: bool | None


class Ranked(TypedDict):
    """One document of `ScoringModel.rank`; the keys are those of sentence-transformers."""

    corpus_id: int
    score: float
    text: str


class ScoringModel(LogitsModel):
    """A model that scores pairs. It can replace a `CrossEncoder`, for example in its evaluators."""

    #: An attribute of sentence-transformers' CrossEncoder; here always one number per pair.
    num_labels = 1

    @overload
    def score(  # type: ignore[overload-overlap]
        self,
        pairs: OnePair,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> np.float32: ...

    @overload
    def score(
        self,
        pairs: ManyPairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> Vector[np.float32]: ...

    def score(
        self,
        pairs: Pairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        on_long: OnLongInput = "truncate",
        timeout_ms: float | None = None,
    ) -> np.float32 | Vector[np.float32]:
        """Score pairs of texts, on the scale that the checkpoint was trained for.

        Args:
            pairs: Pairs of texts, or one pair.
            batch_size: The most pairs in one batch; the token budget bounds it too.
            show_progress_bar: Show progress on stderr; None means no.
            on_long: ``"truncate"`` cuts a long pair, its longer text first; ``"warn"`` also logs
                how many were cut; ``"error"`` refuses it before anything runs.
            timeout_ms: Milliseconds after which to give up, or None for never.

        Returns:
            float32 [n] in the order of the pairs; a float32 for one pair. The checkpoint's
            activation is applied: a cross-encoder has its own, and for a classifier the score is
            the probability of the scored label.

        Raises:
            InputTypeError: An item is not a pair of strings; the message names its index.
            InputError: A text is not valid Unicode, or there is no such `on_long`.
            TooLongError: `on_long` is ``"error"``, and a pair is longer than the model's limit.
            UnsupportedError: A server tokenises, so that long pairs are unknown here.
            Overloaded: Too many calls wait for the model already.
            DeadlineError: The time is up.
        """
        listed = text_list(pairs, "score", "pairs of texts")
        single = bool(listed) and isinstance(listed[0], str)
        inputs = [tuple(listed)] if single else listed
        for index, item in enumerate(inputs):
            if isinstance(item, str):
                msg = f"score takes pairs of texts, but the item at index {index} is one text"
                raise InputTypeError(msg)
        require_on_long(on_long, INPUT_CHOICES)
        tell_long(self.manifest.name, self.tokenizer, inputs, on_long)
        logits = self.logits(
            inputs,
            batch_size=batch_size,
            show_progress_bar=show_progress_bar,
            timeout_ms=timeout_ms,
        )
        scores = self.scores_of(logits)
        return cast("np.float32", scores[0]) if single else scores

    def scores_of(self, logits: Scores) -> Vector[np.float32]:
        """Return the score of each row of logits [n, labels], float32 [n]."""
        label = self.manifest.scored_label
        column = 0 if label is None else self.manifest.labels.index(label)
        scores: Vector[np.float32] = self.activate(logits)[:, column]
        return scores

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        sentences: OnePair,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        **options: Unpack[PromptedOptions],
    ) -> np.float32: ...

    @overload
    def predict(
        self,
        sentences: ManyPairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: Literal[True] = True,
        convert_to_tensor: Literal[False] = False,
        **options: Unpack[PromptedOptions],
    ) -> Vector[np.float32]: ...

    @overload
    def predict(
        self,
        sentences: Pairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: bool = True,
        convert_to_tensor: Literal[True],
        **options: Unpack[PromptedOptions],
    ) -> "torch.Tensor": ...

    @overload
    def predict(  # type: ignore[overload-overlap]
        self,
        sentences: OnePair,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: Literal[False],
        convert_to_tensor: Literal[False] = False,
        **options: Unpack[PromptedOptions],
    ) -> "torch.Tensor": ...

    @overload
    def predict(
        self,
        sentences: ManyPairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: Literal[False],
        convert_to_tensor: Literal[False] = False,
        **options: Unpack[PromptedOptions],
    ) -> "list[torch.Tensor]": ...

    @overload
    def predict(
        self,
        sentences: Pairs,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **options: Unpack[PromptedOptions],
    ) -> "Predicted": ...

    def predict(
        self,
        sentences: Pairs | None = None,
        batch_size: int = 32,
        show_progress_bar: bool | None = None,
        *,
        inputs: Pairs | None = None,
        prompt_name: str | None = None,
        prompt: str | None = None,
        on_long: OnLongInput = "truncate",
        convert_to_numpy: bool = True,
        convert_to_tensor: bool = False,
        **others: Unpack[PredictDropIns],
    ) -> "Predicted":
        """Call `score`; the evaluators of sentence-transformers use this name.

        Args:
            sentences: The pairs; `inputs` in sentence-transformers 6.
            batch_size: See `score`.
            show_progress_bar: See `score`.
            inputs: See `sentences`.
            prompt_name: None, since Lanner's cross-encoders have no prompts.
            prompt: None, likewise.
            on_long: See `score`.
            convert_to_numpy: False gives a list of torch tensors, one per pair; needs torch.
            convert_to_tensor: True gives one torch tensor, whatever `convert_to_numpy` says.
            others: Other arguments of sentence-transformers, which take their defaults alone.

        Raises:
            UnsupportedError: A prompt is asked for, or one of `others` asks for something else than
                the model does.
        """
        require_own(self.manifest.name, others)
        if asked := prompt_name or prompt:
            msg = f"{self.manifest.name} has no prompt {asked!r}: put it before the texts"
            raise UnsupportedError(msg)
        ask: Callable[..., np.float32 | Vector[np.float32]] = self.score
        pairs = given_inputs(sentences, inputs)
        scores = ask(pairs, batch_size, show_progress_bar, on_long=on_long)
        return converted(
            scores,
            is_single=np.ndim(scores) == 0,
            to_numpy=convert_to_numpy,
            to_tensor=convert_to_tensor,
        )

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        top_k: int | None = None,
        *,
        batch_size: int = 32,
        return_documents: bool = True,
        **options: Unpack[PredictOptions],
    ) -> list[Ranked]:
        """Rank documents by their score with a query, best first; ties keep their order.

        Args:
            query: The text that each document is paired with.
            documents: The texts to rank.
            top_k: The number of documents to return, at least 1, or None for all.
            batch_size: The most pairs in one batch.
            return_documents: Of sentence-transformers, and without effect: the texts are always
                there.
            options: Those of `predict`.
        """
        if top_k is not None:
            require_count("top_k", top_k)
        documents = text_list(documents, "rank", "a sequence of texts")
        pairs = [(query, document) for document in documents]
        scores = self.predict(pairs, batch_size, **options)
        order = np.argsort(-scores, kind="stable")[:top_k]
        return [
            {"corpus_id": int(row), "score": float(scores[row]), "text": documents[row]}
            for row in order
        ]
