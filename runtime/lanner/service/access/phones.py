"""The recogniser of telephone numbers, by Google's numbering plans of all countries."""

import re
from collections.abc import Callable, Iterator, Sequence

from lanner.errors import InputError, MissingExtraError

#: The countries whose local numbers are found by default.
DEFAULT_REGIONS = ("CN", "DE", "US")
#: Seven digits with separators: no number is shorter. Most texts have none.
_POSSIBLE = re.compile(r"(?:\d[^\w\n]{0,4}){7}")
#: An ISBN of ten digits looks like a local number with its area code.
_BOOK = re.compile(r"ISBN[^\d]{0,8}$", re.I)
_BOOK_REACH = 14
#: The beginning of a number that shows its kind.
_MARKED = re.compile(r"[(\uff08]?[+\uff0b0\uff10]")
#: Long texts are read in windows of this many characters; the overlap is longer than a number.
_WINDOW, _OVERLAP = 2_000, 50


def phones(regions: Sequence[str]) -> Callable[[str], Iterator[tuple[int, int]]]:
    """Return a recogniser that yields the spans of telephone numbers.

    Args:
        regions: Two-letter codes of the countries whose numbers are written without the country's
            code. Numbers with a code, such as ``+49 171 1234567``, are found whatever it is.

    Raises:
        InputError: There is no such country.
        MissingExtraError: phonenumbers is not installed.
    """
    try:
        import phonenumbers  # noqa: PLC0415 (an extra)
    except ImportError as error:
        what = "masking telephone numbers"
        raise MissingExtraError(what, "masking", "phonenumbers") from error

    for region in regions:
        if region not in phonenumbers.SUPPORTED_REGIONS:
            msg = f"{region!r} is no country of telephone numbers: write for example DE, CN or US"
            raise InputError(msg)

    def find(text: str) -> Iterator[tuple[int, int]]:
        for first in range(0, max(len(text), 1), _WINDOW - _OVERLAP):
            window = text[first : first + _WINDOW]
            yield first, first  # no number, but the caller can check its time
            if _POSSIBLE.search(window):
                for region in regions or (None,):
                    for start, end in in_window(window, region):
                        yield first + start, first + end

    def in_window(text: str, region: str | None) -> Iterator[tuple[int, int]]:
        # People group digits as they like, so the leniency is VALID. A number without a country
        # code and without the 0 of an area must be grouped as its country does; otherwise it may be
        # a price.
        for found in phonenumbers.PhoneNumberMatcher(text, region, leniency=lenient):
            before = text[max(0, found.start - _BOOK_REACH) : found.start]
            if _BOOK.search(before):
                continue
            if _MARKED.match(found.raw_string) or any(
                phonenumbers.PhoneNumberMatcher(found.raw_string, region, leniency=strict)
            ):
                yield found.start, found.end

    lenient, strict = phonenumbers.Leniency.VALID, phonenumbers.Leniency.STRICT_GROUPING
    return find
