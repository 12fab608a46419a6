"""The way of every request through the service, whatever its dialect.

The key and the limits of the body are checked before (`lanner.service.app`). This module has the
limits of texts, the masks, the tokens, their rate, the queue and the model.
"""

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lanner.errors import ModelChangedError
from lanner.service.access.masking import Masked, Masker, counted
from lanner.service.core.catalogue import Catalogue
from lanner.service.core.exchange import Request
from lanner.service.core.figures import Figures
from lanner.service.core.health import Health
from lanner.service.core.queue import TokenQueue
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel, Tokens
from lanner.service.core.vocabulary import Vocabulary
from lanner.text.cutting import Cut, CutTexts, TooLongError
from lanner.text.entities import Entity
from lanner.text.tokenization import Pair
from lanner.triton.contract.tensors import TEXT_SUFFIX

Answer = TypeVar("Answer")

#: The number of repetitions of a request whose model the server replaces meanwhile.
_MOST_RENEWALS = 3
#: Texts with fewer characters than this are masked on the event loop, longer ones in a thread.
_CHARACTERS_HERE = 4_000


@dataclass
class TextLimits:
    """The limits of the texts of a request.

    Attributes:
        most_texts: The most texts or pairs.
        most_characters: The most characters of a text.
        most_tokens: The most tokens of all texts together, those that were cut away aside.
        cuts: True if texts beyond the model's limit are cut where the request does not say.
    """

    most_texts: int = 4_096
    most_characters: int = 1_000_000
    most_tokens: int = 2_097_152
    cuts: bool = True


@dataclass
class Pipeline:
    """The parts that every request goes through.

    Attributes:
        catalogue: The models.
        queue: The bound on what waits.
        limits: The limits of texts.
        figures: The counts.
        health: The readiness of the models.
        masker: Masks the texts, or None.
        vocabulary: Decodes the token ids that clients of OpenAI send, or None to refuse them.
        triton_metrics: The address of a Triton server's metrics that `/metrics` passes on, or None.
        has_tei_names: True if `/metrics` repeats some metrics under the names of TEI.
    """

    catalogue: Catalogue
    queue: TokenQueue
    limits: TextLimits
    figures: Figures = field(default_factory=Figures)
    health: Health = field(default_factory=Health)
    masker: Masker | None = None
    vocabulary: Vocabulary | None = None
    triton_metrics: str | None = None
    has_tei_names: bool = False

    def only(self, names: Collection[str]) -> "Pipeline":
        """Return the same service with only the models of these names."""
        return replace(self, catalogue=self.catalogue.only(names))

    def model(
        self, request: Request, name: str | None, *heads: str
    ) -> tuple[ServedModel, str | None]:
        """Return the model that a request asks for, and the prompt in its name.

        Raises:
            Refusal: There is no such model, it has another head, or the key is not for it.
        """
        served, prompt = self.catalogue.find(name, *heads)
        request.model = served.name
        return served, prompt

    async def rows(
        self,
        request: Request,
        served: ServedModel,
        inputs: Sequence[str | Pair],
        *,
        prompt: str = "",
        end: Cut = None,
    ) -> tuple[NDArray[np.float32], Tokens]:
        """Return the model's row for each text or pair, float32 [n, dimension], and their tokens.

        Args:
            request: The request.
            served: The model.
            inputs: The texts or pairs.
            prompt: The prompt to put before each text.
            end: The end that a long text loses; None for the checkpoint's, if texts may be cut.

        Raises:
            Refusal: A limit is passed, or too much waits.
            LannerError: See `ServedModel.rows`.
        """
        self.check(inputs)
        inputs = await self._masked(request, served, inputs)
        if end is None and not self.limits.cuts:
            end = "no"
        for _ in range(_MOST_RENEWALS):
            with request.part("tokenize"):
                tokens = await served.tokens(
                    inputs, prompt=prompt, end=end, deadline_s=self.deadline_s(request)
                )
            count = tokens.count
            self.check_tokens(count)
            request.texts, request.tokens, request.cut = len(inputs), count, tokens.cut
            with self.queue.admitted(count):
                waiting, start = self.queue.tokens, time.perf_counter()
                try:
                    with self.queue.run(request):
                        rows = await served.rows(
                            tokens,
                            deadline_s=self.deadline_s(request),
                            is_only=request.is_only,
                        )
                except ModelChangedError:
                    await served.renew()
                    continue
                self.queue.note(waiting, time.perf_counter() - start)
            return rows, tokens
        msg = "the server exchanges the model: try again when its deployment has finished"
        raise Refusal(Kind.UNAVAILABLE, msg)

    async def entities(
        self, request: Request, served: ServedModel, texts: list[str], *, strategy: str
    ) -> list[list[Entity]]:
        """Return the entities of each text; see `lanner.models.tagging.TaggingModel.tag`.

        Entities of masked texts are placeholders, and say where the original text has them.
        """
        self.check(texts)
        masked = await self._masks(request, served, texts)
        originals, texts = texts, [one.text for one in masked] if masked else texts
        with request.part("tokenize"):
            # Tokens of the first windows: an estimate for the queue.
            counted = await served.tokens(texts, deadline_s=self.deadline_s(request))
        count = counted.count
        self.check_tokens(count)
        request.texts, request.tokens = len(texts), count
        timeout_ms = self._timeout_ms(request)
        with self.queue.admitted(count), self.queue.run(request):
            found = await served.tag(texts, strategy=strategy, timeout_ms=timeout_ms)
        if not masked:
            return found
        return [
            [_unmasked(entity, one, text) for entity in entities]
            for entities, one, text in zip(found, masked, originals, strict=True)
        ]

    async def encoded(
        self,
        request: Request,
        served: ServedModel,
        texts: Sequence[str],
        *,
        cut: Callable[[Sequence[str]], CutTexts],
        encode: Callable[[list[str], float | None], Answer],
    ) -> Answer:
        """Return what a model makes of texts, in a thread.

        Args:
            request: The request.
            served: The model.
            texts: The texts.
            cut: Returns their tokens, for the limits and the queue, or refuses long texts.
            encode: Returns the answer to the texts within milliseconds, or None for any time.

        Raises:
            Refusal: A limit is passed, or too much waits.
            LannerError: The model does not answer.
        """
        self.check(texts)
        masked = await self._masks(request, served, texts)
        given = [one.text for one in masked] if masked else list(texts)
        with request.part("tokenize"):
            try:
                found = await served.in_thread(partial(cut, given))
            except TooLongError as error:
                raise Refusal(Kind.TOO_LONG, str(error)) from None
        count = sum(map(len, found.token_ids))
        self.check_tokens(count)
        request.texts, request.tokens, request.cut = len(given), count, found.cut
        timeout_ms = self._timeout_ms(request)
        with self.queue.admitted(count), self.queue.run(request):
            return await served.in_thread(lambda: encode(given, timeout_ms))

    @staticmethod
    def _timeout_ms(request: Request) -> float | None:
        left_s = request.deadline_s - time.monotonic()
        return None if math.isinf(left_s) else max(1.0, left_s * 1e3)

    def require_texts(self, served: ServedModel) -> None:
        """Check that a request may contain token ids, which cannot be masked.

        Raises:
            Refusal: The service masks texts.
        """
        if self.masker is not None:
            msg = (
                f"the service masks texts, so the model {served.name} takes texts and no token "
                f"ids: ask for {served.name}{TEXT_SUFFIX}"
            )
            raise Refusal(Kind.INVALID, msg)

    async def _masked(
        self, request: Request, served: ServedModel, inputs: Sequence[str | Pair]
    ) -> Sequence[str | Pair]:
        """Return texts or pairs with placeholders for personal data."""
        if self.masker is None:
            return inputs
        flat = [text for one in inputs for text in ((one,) if isinstance(one, str) else one)]
        texts = iter([one.text for one in await self._masks(request, served, flat)])
        return [
            next(texts) if isinstance(one, str) else (next(texts), next(texts)) for one in inputs
        ]

    async def _masks(
        self, request: Request, served: ServedModel, texts: Sequence[str]
    ) -> list[Masked]:
        """Return masked texts, and count what was masked; nothing if the service masks nothing."""
        if self.masker is None:
            return []
        work = partial(self.masker.mask, texts, deadline_s=self.deadline_s(request))
        is_short = sum(map(len, texts)) < _CHARACTERS_HERE and not self.masker.is_slow
        with request.part("mask"):
            found = work() if is_short else await served.in_thread(work)
        request.masked = counted(found)
        request.masked_texts = sum(1 for one in found if one.spans)
        return found

    def check(self, inputs: Sequence[str | Pair]) -> None:
        """Check the number of texts and their lengths.

        Raises:
            Refusal: There are none, too many, or a text is too long.
        """
        if not inputs:
            msg = "the request holds no text"
            raise Refusal(Kind.EMPTY, msg)
        limits = self.limits
        if len(inputs) > limits.most_texts:
            msg = f"the request has {len(inputs):,} texts, and may have {limits.most_texts:,}"
            raise Refusal(Kind.TOO_LARGE, msg)
        for index, one in enumerate(inputs):
            longest = len(one) if isinstance(one, str) else max(map(len, one))
            if longest > limits.most_characters:
                msg = (
                    f"the text at index {index} has {longest:,} characters, and may have "
                    f"{limits.most_characters:,}"
                )
                raise Refusal(Kind.TOO_LARGE, msg)

    def check_tokens(self, count: int) -> None:
        """Check the number of tokens of a request.

        Raises:
            Refusal: There are too many.
        """
        if count > self.limits.most_tokens:
            msg = f"the request has {count:,} tokens, and may have {self.limits.most_tokens:,}"
            raise Refusal(Kind.TOO_LARGE, msg)

    @staticmethod
    def deadline_s(request: Request) -> float | None:
        """Return the deadline of a request, or None if it has none."""
        return None if math.isinf(request.deadline_s) else request.deadline_s


def _unmasked(entity: Entity, masked: Masked, text: str) -> Entity:
    """Return an entity at its place in the original text."""
    start, end = masked.original(entity.start, entity.end)
    return replace(entity, text=text[start:end], start=start, end=end)
