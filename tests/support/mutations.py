"""Forged documents: JSON with changes to its structure or its bytes."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

from hypothesis import strategies as st

#: Texts of JSON that no Python value produces; `written` puts each in place of its mark.
_RAW = {
    "@1e999": "1e999",
    "@-1e999": "-1e999",
    "@nan": "NaN",
    "@infinity": "-Infinity",
    "@zero": "-0",
    "@minus": "-0.0",
    "@digits": "9" * 5_000,
    "@fraction": "0." + "1" * 5_000,
    "@tiny": "1e-400",
    "@deep": "[" * 50_000 + "]" * 50_000,
    "@nested": '{"a":' * 3_000 + "1" + "}" * 3_000,
    "@values": "[" + "0," * 200_000 + "0]",
    "@surrogate": '"\\ud800 a"',
    "@pair": '"\\udc00\\ud800"',
    "@nul": '"a\\u0000b"',
    "@half": '"\\ud83d',
    "@comment": "1 // x",
    "@nothing": "",
}
VALUES: list[Any] = [
    *_RAW,
    None,
    True,
    False,
    0,
    1,
    -1,
    2**31,
    2**53,
    2**63,
    10**30,
    -(10**30),
    10**4_000,
    1.5,
    1e308,
    "",
    "0",
    "x" * 100_000,
    "\x1b[2J\x07",
    "../../etc/passwd",
    "/dev/zero",
    "a\r\nb",
    "\u202e\u2066",
    "\u0661",
    "fp32",
    [],
    [[]],
    {},
    {"": None},
    {"a": {}},
    [None, 1, "x"],
    [1, 1],
    ["x"] * 1_000,
]


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield every place of a document, the document itself first."""
    yield path
    inners = enumerate(value) if isinstance(value, list) else ()
    for key, inner in value.items() if isinstance(value, dict) else inners:
        yield from places(inner, (*path, key))


@st.composite
def changed(draw: st.DrawFn, document: Any) -> Any:
    """Draw a copy of a document with one to three changes."""
    copy = json.loads(json.dumps(document))
    for _ in range(draw(st.sampled_from((1, 1, 1, 2, 3)))):
        found = [place for place in places(copy) if place] or [()]
        place = draw(st.sampled_from(found))
        if not place:
            return draw(st.sampled_from(VALUES))
        holder = copy
        for key in place[:-1]:
            holder = holder[key]
        key = place[-1]
        kind = draw(st.sampled_from(("value", "value", "value", "number", "other", "gone", "more")))
        if kind == "value":
            holder[key] = deepcopy(draw(st.sampled_from(VALUES)))
        elif kind == "number" and type(holder[key]) in (int, float):
            holder[key] += draw(st.sampled_from((-2, -1, 1, 2, 0.5, 1000, 2**40)))
        elif kind == "other":
            other = copy
            for name in draw(st.sampled_from(found)):
                other = other[name]
            holder[key] = json.loads(json.dumps(other))
        elif kind == "gone":
            del holder[key]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(("", "more", "a\nb", "é")))] = holder[key]
        else:
            holder.insert(0, holder[key])
    return copy


def written(document: Any) -> bytes:
    """Return a document as JSON, with the texts of `_RAW` in place of their marks."""
    text = json.dumps(document)
    for mark, raw in _RAW.items():
        text = text.replace(f'"{mark}"', raw)
    return text.encode("utf-8", "surrogatepass")


@st.composite
def damaged(draw: st.DrawFn, content: bytes, most: int = 3) -> bytes:
    """Draw the same bytes with some changed, deleted, repeated or inserted."""
    data = bytearray(content)
    for _ in range(draw(st.integers(1, most))):
        place = draw(st.integers(0, max(0, len(data) - 1)))
        length = draw(st.sampled_from((1, 2, 9, 100)))
        kind = draw(st.sampled_from(("change", "delete", "insert", "repeat", "cut")))
        if kind == "change":
            data[place : place + 1] = draw(st.binary(min_size=1, max_size=1))
        elif kind == "delete":
            del data[place : place + length]
        elif kind == "insert":
            data[place:place] = draw(st.sampled_from(_INSERTED))
        elif kind == "repeat":
            data[place:place] = data[place : place + length]
        else:
            del data[place:]
    return bytes(data)


_INSERTED = [
    *(b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r\n\r\n", b"{", b"]", b'"'),
    *(b"\\u", b"\\ud800", b"1e999", b"NaN", b"\x80" * 10, b"-", b"," * 50),
]


@st.composite
def forged(draw: st.DrawFn, document: Any) -> bytes:
    """Draw a changed document as JSON, sometimes with changed bytes or in another encoding."""
    content = written(draw(changed(document)))
    kind = draw(st.sampled_from(("whole",) * 6 + ("damaged", "damaged", "utf-16", "twice", "bom")))
    if kind == "damaged" and len(content) < 10**6:
        return draw(damaged(content))
    if kind == "utf-16":
        return content.decode("utf-8", "surrogatepass").encode("utf-16", "surrogatepass")
    if kind == "twice":  # every key occurs twice
        return content[:-1] + b"," + content[1:] if content.startswith(b"{") else content * 2
    return b"\xef\xbb\xbf" + content if kind == "bom" else content
