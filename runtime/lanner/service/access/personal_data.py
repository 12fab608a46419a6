"""Recognisers of personal data: e-mail addresses, IP addresses, cards, accounts, ids, phones.

A recogniser yields the spans of a text. Each is checked beyond its shape (checksums, dates, known
prefixes) where it has something to check, so that versions, prices and order numbers stay. Every
expression takes time in proportion to the text: a match begins only where a run of its characters
begins, and what repeats is possessive.

Letters and digits of ASCII bound a match, not those of Unicode: Chinese has no spaces.
"""

import ipaddress
import re
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from typing import TypeAlias

Bounds: TypeAlias = tuple[int, int]
Recogniser: TypeAlias = Callable[[str], Iterator[Bounds]]
#: Recognisers by the kind that they find.
Recognisers: TypeAlias = dict[str, Recogniser]

#: The kinds for `--mask`; if two overlap, the earlier one wins.
KINDS = ("email", "ip", "iban", "id", "card", "phone")

#: Letters of scripts that are written with spaces: Latin, Greek, Cyrillic.
_LETTERS = r"A-Za-z\u00c0-\u024f\u0370-\u052f"
_BEFORE, _AFTER = r"(?<![0-9A-Za-z_])", r"(?![0-9A-Za-z_])"
_EMAIL = re.compile(
    rf"(?<![{_LETTERS}0-9._%+-])[{_LETTERS}0-9._%+'-]++[@\uff20]"
    rf"(?:[{_LETTERS}0-9-]++\.)+(?:xn--[A-Za-z0-9-]+|[{_LETTERS}]{{2,63}})"
)
_IPV4 = re.compile(rf"(?<![0-9A-Za-z_.])(?:[0-9]{{1,3}}\.){{3}}[0-9]{{1,3}}{_AFTER}(?!\.[0-9])")
_IPV6 = re.compile(rf"(?<![0-9A-Za-z_.:])[0-9A-Fa-f:.]{{3,46}}+{_AFTER}(?:%[0-9A-Za-z]{{1,16}})?")
#: Four numbers with dots after such a word are a version.
_VERSION = re.compile(r"(?:version|versions|ver|release|build|版本|версия)[^0-9A-Za-z]{0,3}$", re.I)
_VERSION_REACH = 16
_DIGITS = re.compile(rf"(?<![0-9A-Za-z_.])\d++(?:[ \u00a0-]\d++)*+{_AFTER}")
_GROUP = re.compile(r"\d+")
_DIGIT = re.compile(r"\d")
_IBAN = re.compile(rf"{_BEFORE}[A-Z]{{2}}[0-9]{{2}}(?:[ \u00a0]?[0-9A-Z]{{1,4}}){{3,8}}+{_AFTER}")
_SSN = re.compile(
    r"(?<![0-9A-Za-z_-])(?!000|666|9)[0-9]{3}-(?!00)[0-9]{2}-(?!0000)[0-9]{4}(?![0-9A-Za-z_-])"
)
_CHINESE_ID = re.compile(rf"{_BEFORE}[1-8]\d{{16}}[\dXx]{_AFTER}")
_GERMAN_TAX_ID = re.compile(rf"{_BEFORE}[1-9][0-9](?: ?[0-9]{{3}}){{3}}{_AFTER}")
_GERMAN_INSURANCE = re.compile(rf"{_BEFORE}[0-9]{{2}} ?[0-9]{{6}} ?[A-Z] ?[0-9]{{3}}{_AFTER}")
_GERMAN_CARD = re.compile(rf"{_BEFORE}[C-HJ-NPRTV-Y][CFGHJ-NPRTV-Z0-9]{{8}}[0-9]{_AFTER}")

#: Beginnings of card numbers (as numbers of so many digits, inclusive) and their lengths.
_ISSUERS: Sequence[tuple[int, int, Sequence[int]]] = (
    (4, 4, (13, 16, 19)),  # Visa
    (51, 55, (16,)),  # Mastercard
    (2221, 2720, (16,)),
    (34, 34, (15,)),  # American Express
    (37, 37, (15,)),
    (6011, 6011, range(16, 20)),  # Discover
    (644, 659, range(16, 20)),
    (300, 305, (14, 16)),  # Diners Club
    (36, 36, (14, 16)),
    (38, 39, (14, 16)),
    (3528, 3589, range(16, 20)),  # JCB
    (62, 62, range(16, 20)),  # UnionPay
    (50, 50, range(12, 20)),  # Maestro
    (56, 58, range(12, 20)),
    (67, 67, range(12, 20)),
    (2200, 2204, (16,)),  # Mir
)
_CARD_LENGTHS = range(12, 20)
#: The groups of digits in a card number that is written in groups.
_CARD_GROUPS = range(3, 9)
#: The first two digits of a Chinese resident id.
_PROVINCES = frozenset(
    number
    for low, high in (
        (11, 15),
        (21, 23),
        (31, 37),
        (41, 46),
        (50, 54),
        (61, 65),
        (71, 71),
        (81, 83),
    )
    for number in range(low, high + 1)
)
#: The letters and digits of the shortest account number, Norway's.
_LEAST_IBAN = 15


def emails(text: str) -> Iterator[Bounds]:
    """Yield the spans of e-mail addresses, also of domains in Latin, Greek and Cyrillic letters."""
    if "@" in text or "\uff20" in text:
        yield from (found.span() for found in _EMAIL.finditer(text))


def addresses(text: str) -> Iterator[Bounds]:
    """Yield the spans of IPv4 and IPv6 addresses; four numbers after "version" are none."""
    if text.count(".") >= 3:
        for found in _IPV4.finditer(text):
            before = text[max(0, found.start() - _VERSION_REACH) : found.start()]
            if max(map(int, found[0].split("."))) < 256 and not _VERSION.search(before):
                yield found.span()
    if text.count(":") >= 2:
        for found in _IPV6.finditer(text):
            address, mark, zone = found[0].partition("%")
            if not mark:  # the period of a sentence, the colon before a list
                address = address.rstrip(".")
                address = address if address.endswith("::") else address.removesuffix(":")
            if _is_ipv6(address):
                yield found.start(), found.start() + len(address) + len(mark + zone)


def cards(text: str) -> Iterator[Bounds]:
    """Yield the spans of card numbers: a known issuer's prefix and length, and the Luhn digit."""
    if not _DIGIT.search(text):  # a fast way out: most texts have none
        return
    for run in _DIGITS.finditer(text):
        groups = [
            (found.start() + run.start(), found.end() + run.start())
            for found in _GROUP.finditer(run[0])
        ]
        first = 0
        while first < len(groups):
            last = _last_group(text, groups, first)
            if last is not None:
                yield groups[first][0], groups[last][1]
            first = first + 1 if last is None else last + 1


def accounts(text: str) -> Iterator[Bounds]:
    """Yield the spans of international bank account numbers (IBAN), by their check digits."""
    if not _DIGIT.search(text):
        return
    for found in _IBAN.finditer(text):
        candidate = found[0]
        while len(candidate) >= _LEAST_IBAN:  # a word in capital letters may follow, such as BIC
            if _is_iban(candidate.replace(" ", "").replace("\u00a0", "")):
                yield found.start(), found.start() + len(candidate)
                break
            candidate = candidate[: max(candidate.rfind(" "), candidate.rfind("\u00a0"), 0)]


def ids(text: str) -> Iterator[Bounds]:
    """Yield the spans of personal numbers.

    - China: the resident id of 18 characters, by its province, date of birth and check character.
    - Germany: the tax id and the pension insurance number, by their check digits, and the numbers
      of identity cards and passports with the check digit behind.
    - United States: the social security number with hyphens, in the ranges that were ever issued.
    """
    if not _DIGIT.search(text):
        return
    checked = (
        (_CHINESE_ID, _is_chinese_id),
        (_GERMAN_TAX_ID, _is_german_tax_id),
        (_GERMAN_INSURANCE, _is_german_insurance),
        (_GERMAN_CARD, _is_german_card),
        (_SSN, bool),
    )
    for expression, is_valid in checked:
        for found in expression.finditer(text):
            if is_valid(found[0].replace(" ", "")):
                yield found.span()


def _is_ipv6(address: str) -> bool:
    # Names of C++ such as `a::b` are addresses too: one with a digit is rarely a name.
    if address.count(":") < 2 or not re.search("[0-9]", address):
        return False
    try:
        ipaddress.IPv6Address(address)
    except ValueError:
        return False
    return True


def _last_group(text: str, groups: Sequence[Bounds], first: int) -> int | None:
    """Return the last of the digit groups that make a card number from `first` on, or None."""
    found, digits = None, ""
    for index in range(first, len(groups)):
        start, end = groups[index]
        if end - start > _CARD_LENGTHS[-1] - len(digits):
            break
        if index > first and not {end - start, groups[first][1] - groups[first][0]} <= set(
            _CARD_GROUPS
        ):
            break
        digits += text[start:end]
        if len(digits) in _CARD_LENGTHS and _is_card(digits):
            found = index
    return found


def _is_card(digits: str) -> bool:
    if not any(
        low <= int(digits[: len(str(low))]) <= high and len(digits) in lengths
        for low, high, lengths in _ISSUERS
    ):
        return False
    doubled = [int(digit) * (1 + place % 2) for place, digit in enumerate(reversed(digits))]
    return len(set(digits)) > 1 and sum(value - 9 * (value > 9) for value in doubled) % 10 == 0


def _is_iban(account: str) -> bool:
    if not _LEAST_IBAN <= len(account) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in account[4:] + account[:4])) % 97 == 1


def _is_chinese_id(text: str) -> bool:
    digits = [int(char) for char in text[:17]]
    born = "".join(map(str, digits[6:14]))
    if digits[0] * 10 + digits[1] not in _PROVINCES or not _is_date(
        int(born[:4]), int(born[4:6]), int(born[6:])
    ):
        return False
    rest = sum(digit * pow(2, 17 - place, 11) for place, digit in enumerate(digits)) % 11
    return "10X98765432"[rest] == (text[17].upper() if text[17] in "Xx" else str(int(text[17])))


def _is_date(year: int, month: int, day: int) -> bool:
    try:
        return 1850 <= date(year, month, day).year <= date.today().year
    except ValueError:
        return False


def _is_german_tax_id(text: str) -> bool:
    counts = sorted((text[:10].count(digit) for digit in set(text[:10])), reverse=True)
    if counts[0] not in (2, 3) or counts[1] != 1:
        return False
    # ISO/IEC 7064, MOD 11,10
    product = 10
    for digit in text[:10]:
        product = ((int(digit) + product) % 10 or 10) * 2 % 11
    return (11 - product) % 10 == int(text[10])


def _is_german_insurance(text: str) -> bool:
    letter = f"{ord(text[8]) - ord('A') + 1:02}"
    # 50 is added to a day whose numbers are used up.
    day, month = int(text[2:4]) % 50, int(text[4:6])
    if not (1 <= day <= 31 and 1 <= month <= 12):
        return False
    weighted = (
        int(digit) * weight
        for digit, weight in zip(
            text[:8] + letter + text[9:11], (2, 1, 2, 5, 7, 1, 2, 1, 2, 1, 2, 1), strict=True
        )
    )
    return sum(value // 10 + value % 10 for value in weighted) % 10 == int(text[11])


def _is_german_card(text: str) -> bool:
    if not re.search("[0-9]", text[1:9]):
        return False
    weighted = (int(char, 36) * (7, 3, 1)[place % 3] for place, char in enumerate(text[:9]))
    return sum(weighted) % 10 == int(text[9])
