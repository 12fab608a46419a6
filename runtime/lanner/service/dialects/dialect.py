"""The parts of a dialect: routes, the decoding of bodies, and the shape of refusals."""

import math
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, TypeVar

from lanner.errors import MissingExtraError
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.vectors import to_json
from lanner.text.cutting import Cut

try:
    import msgspec
except ImportError as error:
    what = "the service"
    raise MissingExtraError(what, "service", "msgspec") from error

Handler = Callable[[Request, Pipeline], Awaitable[Response]]
Refuse = Callable[[Refusal], Response]
Decoded = TypeVar("Decoded")

#: The part of msgspec's messages that repeats the value.
_VALUE = re.compile(r"value .*?(?= - at `|$)", re.DOTALL)
#: The header that names the cut texts, in every dialect.
TRUNCATED = "x-lanner-truncated"


@dataclass(frozen=True)
class Route:
    """A route of a dialect.

    Attributes:
        method: The method of HTTP.
        path: The path; ``{}`` stands for one part of any name.
        answer: Answers a request.
        refuse: Gives a refusal the shape of the dialect.
        body: The type of the body, for the description; None for another one or none.
        is_open: True if no key is needed.
    """

    method: Literal["GET", "POST"]
    path: str
    answer: Handler
    refuse: Refuse
    body: "type[msgspec.Struct] | None" = None
    is_open: bool = False


def decode(decoder: "msgspec.json.Decoder[Decoded]", request: Request) -> Decoded:
    """Return the body of a request.

    Raises:
        Refusal: It is not JSON, or of another shape; the message repeats nothing of it.
    """
    try:
        with request.part("decode"):
            return decoder.decode(request.body)
    except msgspec.ValidationError as error:
        said = _VALUE.sub("value", str(error))
        field = re.search(r"at `\$\.(\w+)|field `(\w+)`", said)
        param = next(filter(None, field.groups()), None) if field else None
        msg = f"the body is not as the route needs it: {said}"
        raise Refusal(Kind.INVALID, msg, param=param) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        msg = "the body is not JSON in UTF-8"
        raise Refusal(Kind.INVALID, msg) from None


def answered(request: Request, content: object) -> Response:
    """Return an answer in JSON; its writing is timed as the part ``encode``."""
    with request.part("encode"):
        return Response(to_json(content))


def ending(truncate: bool | None, direction: str | None) -> Cut:
    """Return the end that long texts lose, from the two fields that several dialects have.

    Args:
        truncate: True to cut, False to refuse, None for the service's default.
        direction: ``"left"``, ``"right"``, or None for the checkpoint's.
    """
    if truncate is False:
        return "no"
    if direction is None:
        return None
    return "left" if direction.lower() == "left" else "right"


def report_cut(request: Request, response: Response) -> Response:
    """Name the cut texts in a header of the answer."""
    if request.cut:
        response.headers[TRUNCATED] = ",".join(map(str, request.cut[:1_000]))
    return response


def refusal_headers(refusal: Refusal) -> dict[str, str]:
    """Return the headers of a refusal; a temporary one has `Retry-After`, in whole seconds."""
    if refusal.retry_after_s is None:
        return dict(refusal.headers)
    return {**refusal.headers, "retry-after": str(max(1, math.ceil(refusal.retry_after_s)))}
