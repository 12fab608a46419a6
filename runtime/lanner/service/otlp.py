"""Spans in the encoding of OpenTelemetry's protocol (OTLP), as bytes of protobuf.

With the SDK's objects and the classes that protobuf generates, a request of eight spans takes half
a millisecond. A span of the service has few fields, so its bytes are written here directly.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

#: The kinds of spans, in OTLP's numbers.
INTERNAL, SERVER, CLIENT = 1, 2, 3

# A key of protobuf is the number of the field, times 8, plus the kind of its value: 0 for a whole
# number, 1 for eight bytes, 2 for bytes with their length before them, 5 for four bytes.
_IDS = Struct("<BB16sBB8s")
_TIMES = Struct("<BQBQ")
_FAILED = b"\x7a\x02\x18\x02"
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200


class Place(NamedTuple):
    """The place of a span: its trace, its own id, and the state that callers hand on."""

    trace: bytes
    id: bytes
    state: str = ""


def span(
    place: Place,
    parent: bytes,
    name: str,
    kind: int,
    start_ns: int,
    end_ns: int,
    *,
    attributes: Mapping[str, str | int] | None = None,
    links: Sequence[Place] = (),
    is_failed: bool = False,
    is_remote: bool = False,
) -> bytes:
    """Return a sampled span, as it stands in the list of spans of a request of OTLP.

    Args:
        place: Its place.
        parent: The id of the span that it is below, or nothing.
        name: Its name.
        kind: Its kind.
        start_ns: Its start, in nanoseconds since the epoch.
        end_ns: Its end.
        attributes: What is known of it.
        links: The places of other spans that belong to it.
        is_failed: Whether the service failed.
        is_remote: Whether the parent is in another process.
    """
    parts = [
        _above(place.trace, parent, place.state, is_remote),
        b"\x12\x08",
        place.id,
        _named(name, kind),
        _TIMES.pack(0x39, start_ns, 0x41, end_ns),
    ]
    if attributes:
        parts += [_fact(key, value) for key, value in attributes.items()]
    for one in links:
        state = _field(3, one.state.encode()) if one.state else b""
        parts.append(_field(13, _IDS.pack(0x0A, 16, one.trace, 0x12, 8, one.id) + state))
    if is_failed:
        parts.append(_FAILED)
    return _field(2, b"".join(parts))


def attribute(key: str, value: str | float) -> bytes:
    """Return a fact: its name and value."""
    if isinstance(value, str):
        what = _field(1, value.encode("utf-8", "replace"))
    elif isinstance(value, int):  # a bool is written as 0 or 1
        what = b"\x18" + _number(int(value) & 0xFFFFFFFFFFFFFFFF)
    else:
        what = _field(1, str(value).encode())
    return _key(key) + _field(2, what)


def request(
    spans: Iterable[bytes], resource: Mapping[str, str | float], scope: str, version: str
) -> bytes:
    """Return a request of OTLP.

    Args:
        spans: The spans, from `span`.
        resource: What is known of the process.
        scope: The name of the library.
        version: Its version.
    """
    facts = b"".join(_field(1, attribute(key, value)) for key, value in resource.items())
    library = _field(1, scope.encode()) + _field(2, version.encode())
    content = _field(1, library) + b"".join(spans)
    return _field(1, _field(1, facts) + _field(2, content))


# The spans of a request have much in common with each other, and with those of other requests.


@lru_cache(64)
def _above(trace: bytes, parent: bytes, state: str, is_remote: bool) -> bytes:
    flags = 1 | _HAS_IS_REMOTE | (_IS_REMOTE if is_remote else 0)
    return b"".join(
        (
            b"\x0a\x10" + trace,
            b"\x22\x08" + parent if parent else b"",
            _field(3, state.encode()) if state else b"",
            b"\x85\x01" + flags.to_bytes(4, "little"),
        )
    )


@lru_cache(512, typed=True)
def _fact(key: str, value: str | int) -> bytes:
    return _field(9, attribute(key, value))


@lru_cache(256)
def _named(name: str, kind: int) -> bytes:
    return _field(5, name.encode()) + b"\x30" + _number(kind)


@lru_cache(256)
def _key(key: str) -> bytes:
    return _field(1, key.encode())


def _field(number: int, content: bytes) -> bytes:
    # All numbers of fields with bytes are below 16.
    size = len(content)
    if size < 0x80:
        return bytes((number << 3 | 2, size)) + content
    return b"%c%b%b" % (number << 3 | 2, _number(size), content)


def _number(value: int) -> bytes:
    written = bytearray()
    while value > 0x7F:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
