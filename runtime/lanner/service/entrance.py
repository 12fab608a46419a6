"""The entrance of the service: the key of a request, its allowance, and its part of the service."""

from dataclasses import dataclass, field

from lanner.service.access.keys import Headers, Key, KeyFile
from lanner.service.access.rates import Rates
from lanner.service.core.exchange import Request
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal


@dataclass
class Entrance:
    """The check of a request at the entrance: its key, and what that key may still use.

    Attributes:
        keys: The required keys; None lets everybody in.
        rates: The usage of each key.
    """

    keys: KeyFile | None = None
    rates: Rates = field(default_factory=Rates)

    def entered(self, request: Request, headers: Headers, pipeline: Pipeline) -> "Entered":
        """Return a context that counts a request, and gives the part of the service for its key.

        Args:
            request: The request; it gets the key. Its tokens are charged when the block ends.
            headers: The headers as they came, which may name a header twice.
            pipeline: The whole service.

        Raises:
            Refusal: The request carries no valid key, none of the models is for it, or its
                allowance is used up.
        """
        if self.keys is None:
            return Entered(self.rates, request, pipeline)
        key = request.key = self.keys.check(headers)
        if key is None:
            msg = "the request carries no valid key: send one as 'Authorization: Bearer KEY'"
            raise Refusal(Kind.NO_KEY, msg)
        allowed = pipeline if key.models is None else pipeline.only(key.models)
        if not allowed.catalogue.models:
            msg = "the key is for other models than those of this service"
            raise Refusal(Kind.FORBIDDEN, msg)
        wait_s = self.rates.admit(key)
        if wait_s is not None:
            msg = f"the key has used up what it may use: try again in {wait_s:.3g} s"
            raise Refusal(Kind.RATE_LIMITED, msg, retry_after_s=wait_s)
        return Entered(self.rates, request, allowed, key)


class Entered:
    """A context of a request that was let in; see `Entrance.entered`.

    Args:
        rates: The usage of each key.
        request: The request.
        pipeline: The part of the service that it may use.
        key: Its key, or None if none is needed.
    """

    __slots__ = ("_key", "_pipeline", "_rates", "_request")

    def __init__(
        self, rates: Rates, request: Request, pipeline: Pipeline, key: Key | None = None
    ) -> None:
        self._rates, self._request, self._pipeline, self._key = rates, request, pipeline, key

    def __enter__(self) -> Pipeline:
        return self._pipeline

    def __exit__(self, *_: object) -> None:
        if self._key is not None:
            self._rates.charge(self._key, self._request.tokens)
            self._rates.release(self._key)
