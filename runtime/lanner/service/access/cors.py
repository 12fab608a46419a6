"""Cross-origin requests: the web pages whose scripts may call the service from a browser.

Off unless origins are named. Cookies are never allowed: a key is in a header, so a page without a
key gets nothing from its visitor's browser.
"""

import re
from collections.abc import Iterable, Sequence

from lanner.errors import UsageError

#: Any page.
ANY_ORIGIN = "*"
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_HEADER_NAMES = re.compile(rb"[A-Za-z0-9-]+(?:[ \t]*,[ \t]*[A-Za-z0-9-]+)*")
_MOST_HEADER_BYTES = 2048
_METHODS = b"GET, POST, OPTIONS"
#: The seconds for which a browser need not ask again, the longest that all browsers accept.
_MAX_AGE_S = b"7200"
#: Headers of answers that a page may read, in addition to the few that are always allowed.
_EXPOSED = b"retry-after, retry-after-ms, x-request-id"

RawHeaders = list[tuple[bytes, bytes]]


def parse_origins(texts: Iterable[str]) -> tuple[str, ...]:
    """Return origins as browsers send them.

    Raises:
        UsageError: One is not an origin.
    """
    origins = tuple(text.strip().rstrip("/").lower() for text in texts)
    for origin in origins:
        if origin != ANY_ORIGIN and not _ORIGIN.fullmatch(origin):
            msg = f"{origin!r} is no origin: write for example https://app.example.org, or *"
            raise UsageError(msg)
    return origins


def cors_headers(
    origins: Sequence[str], method: str, headers: Iterable[tuple[bytes, bytes]]
) -> RawHeaders:
    """Return the headers that an answer needs so that a page may read it.

    Args:
        origins: The origins that are allowed, from `parse_origins`; with none CORS is off.
        method: The method of the request. `is_preflight` says whether the answer is these headers
            alone.
        headers: The headers of the request, names in lower case.

    Returns:
        Nothing if CORS is off. For an origin that is not allowed only ``vary``, which keeps caches
        from giving one origin the answer of another.
    """
    if not origins:
        return []
    found = dict(headers)
    origin = found.get(b"origin", b"")
    is_any = ANY_ORIGIN in origins
    answer: RawHeaders = [] if is_any else [(b"vary", b"origin")]
    if not origin or not (is_any or origin.decode("latin-1").lower() in origins):
        return answer
    answer.append((b"access-control-allow-origin", b"*" if is_any else origin))
    if not is_preflight(method, found.items()):
        return [*answer, (b"access-control-expose-headers", _EXPOSED)]
    answer += [(b"access-control-allow-methods", _METHODS)]
    answer += [(b"access-control-max-age", _MAX_AGE_S)]
    # Clients send headers of their own (x-stainless-*), which grant nothing, so all are allowed.
    asked = found.get(b"access-control-request-headers", b"")
    if len(asked) <= _MOST_HEADER_BYTES and _HEADER_NAMES.fullmatch(asked):
        answer.append((b"access-control-allow-headers", asked))
    return answer


def is_preflight(method: str, headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a browser only asks if it may send the real request."""
    names = {name for name, _ in headers}
    return method == "OPTIONS" and {b"origin", b"access-control-request-method"} <= names
