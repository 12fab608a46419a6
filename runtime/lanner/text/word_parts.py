"""Parts of words, as FastText makes them: runs of characters, hashed into buckets of a table."""

from lanner.artifact.manifest import MOST_TOKEN_IDS, WordParts

#: The constants of 32-bit FNV-1a.
_BASIS, _PRIME, _BITS = 2166136261, 16777619, 0xFFFFFFFF
#: FastText takes bytes for signed characters, which fill the upper bits from 128 on.
_SIGNED = [byte if byte < 128 else byte | 0xFFFFFF00 for byte in range(256)]
#: Bytes of UTF-8 that begin no character are those from 0x80 to 0xBF.
_FIRST_INNER, _LAST_INNER = 0x80, 0xBF


def buckets_of(word: bytes, parts: WordParts) -> list[int]:
    """Return the buckets of the parts of a word, in the order of FastText.

    A part is `parts.shortest` to `parts.longest` characters of the word between "<" and ">", except
    "<" and ">" alone.

    Args:
        word: The word in UTF-8; other bytes are counted as FastText counts them.
        parts: The lengths of parts and the number of buckets.
    """
    whole = b"<" + word + b">"
    starts = [i for i, byte in enumerate(whole) if not _FIRST_INNER <= byte <= _LAST_INNER]
    count = len(starts)
    ends = [*starts[1:], len(whole)]
    found = []
    for first in range(count):
        value = _BASIS
        for last in range(first, min(first + parts.longest, count)):
            for byte in whole[starts[last] : ends[last]]:
                value = (value ^ _SIGNED[byte]) * _PRIME & _BITS
            length = last - first + 1
            is_edge = length == 1 and (first == 0 or last == count - 1)
            if length >= parts.shortest and not is_edge:
                found.append(value % parts.buckets)
    return found


def part_ids(word: str, parts: WordParts, words: int) -> tuple[int, ...]:
    """Return the token ids of the parts of a word that is not in the table.

    The id of a part is its row plus the number of rows for each other part of the word: the graph
    divides, and gets the row and the share of the word's vector. Ids stay below `MOST_TOKEN_IDS`:
    a word with too many parts, such as a picture in base64, has none.

    Args:
        word: The word.
        parts: The lengths of parts and the number of buckets.
        words: The number of words in the table, whose rows are before those of parts.
    """
    rows = words + parts.buckets
    most = MOST_TOKEN_IDS // rows
    if len(word) - parts.longest >= most:  # nearly each character begins a part
        return ()
    buckets = buckets_of(word.encode(), parts)
    if len(buckets) > most:
        return ()
    first = (len(buckets) - 1) * rows + words
    return tuple(first + bucket for bucket in buckets)
