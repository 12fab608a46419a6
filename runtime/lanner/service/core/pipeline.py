"""The way of every request through the service, whatever its dialect.

The key and the limits of the body come before (`lanner.service.app`); here follow the limits of
texts, the masks, the tokens, their rate, the queue and the model.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lanner.errors import ModelChangedError
from lanner.models.entities import Entity
from lanner.service.core.catalogue import Catalogue
from lanner.service.core.exchange import Request
from lanner.service.core.figures import Figures
from lanner.service.core.health import Health
from lanner.service.core.queue import TokenQueue
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel, Tokens
from lanner.text.cutting import Cut
from lanner.text.tokenization import Pair

#: How often a request is repeated because its server exchanged the model meanwhile.
_MOST_RENEWALS = 3


@dataclass
class TextLimits:
    """The limits of the texts of a request.

    Attributes:
        most_texts: The most texts or pairs.
        most_characters: The most characters of a text.
        cuts: True if texts beyond the model's limit are cut where the request does not say.
    """

    most_texts: int = 4_096
    most_characters: int = 1_000_000
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
    """

    catalogue: Catalogue
    queue: TokenQueue
    limits: TextLimits
    figures: Figures = field(default_factory=Figures)
    health: Health = field(default_factory=Health)

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
        if end is None and not self.limits.cuts:
            end = "no"
        for _ in range(_MOST_RENEWALS):
            with request.part("tokenize"):
                tokens = await served.tokens(inputs, prompt=prompt, end=end)
            count = tokens.count
            request.texts, request.tokens, request.cut = len(inputs), count, tokens.cut
            with self.queue.admitted(count):
                waiting, start = self.queue.tokens, time.perf_counter()
                try:
                    with request.part("model"):
                        rows = await served.rows(tokens, deadline_s=self.deadline_s(request))
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
        """Return the entities of each text; see `lanner.models.tagging.TaggingModel.tag`."""
        self.check(texts)
        with request.part("tokenize"):
            counted = await served.tokens(texts)  # of the first windows: an estimate for the queue
        count = counted.count
        request.texts, request.tokens = len(texts), count
        left_s = request.deadline_s - time.monotonic()
        timeout_ms = None if math.isinf(left_s) else max(1.0, left_s * 1e3)
        with self.queue.admitted(count), request.part("model"):
            return await served.tag(texts, strategy=strategy, timeout_ms=timeout_ms)

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

    @staticmethod
    def deadline_s(request: Request) -> float | None:
        """Return the deadline of a request, or None if it has none."""
        return None if math.isinf(request.deadline_s) else request.deadline_s
