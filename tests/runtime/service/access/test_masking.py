"""Masking, on texts in several languages that were written by hand; no datum is a person's."""

# ruff: noqa: RUF001 (characters of full width are what the tests are about)

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.bounds import at_most_cpu_s

from lanner.errors import DeadlineError, InputError, MissingExtraError
from lanner.service.access.masking import Masked, Masker, Span, counted
from lanner.service.access.patterns import read_patterns
from lanner.service.access.personal_data import KINDS
from lanner.text.entities import Entity

WITHOUT_EXTRAS = tuple(kind for kind in KINDS if kind != "phone")


def masked(text: str, *kinds: str) -> str:
    (found,) = Masker(kinds or WITHOUT_EXTRAS).mask([text])
    return found.text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("write to jane.doe+spam@mail.example.co.uk.", "write to [EMAIL]."),
        ("<a_b%c@example.com>, x'y@example.org!", "<[EMAIL]>, [EMAIL]!"),
        ("mailto:info@müller-söhne.de?subject=a", "mailto:[EMAIL]?subject=a"),
        ("почта: иван@пример.рф", "почта: [EMAIL]"),
        ("请发邮件到wang@example.com谢谢", "请发邮件到[EMAIL]谢谢"),
        ("全角ｗ wang＠example.com。", "全角ｗ [EMAIL]。"),
        ("a@xn--bcher-kva.example.xn--p1ai end", "[EMAIL] end"),
        ("a@b.com.1", "[EMAIL].1"),
        # no address
        ("@jane on @example.com", "@jane on @example.com"),
        ("2 @ 3.50 EUR; x@y; user@localhost", "2 @ 3.50 EUR; x@y; user@localhost"),
        ("pip install lanner@1.2.3", "pip install lanner@1.2.3"),
    ],
)
def test_email_addresses(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("from 192.168.0.1:8080 to 10.0.0.255.", "from [IP]:8080 to [IP]."),
        ("地址192.168.1.1，", "地址[IP]，"),
        ("http://203.0.113.7/a, 203.0.113.0/24", "http://[IP]/a, [IP]/24"),
        ("[2001:db8::1]:443 and fe80::1%eth0.", "[[IP]]:443 and [IP]."),
        ("2001:0db8:0000:0000:0000:ff00:0042:8329, ::1", "[IP], [IP]"),
        (
            "addresses: 2001:db8::1: the first; net 2001:db8:: here",
            "addresses: [IP]: the first; net [IP] here",
        ),
        ("::ffff:192.0.2.128 is mapped", "[IP] is mapped"),
        # no address
        (
            "version 1.2.3.4, v1.2.3.4, release: 4.3.2.1",
            "version 1.2.3.4, v1.2.3.4, release: 4.3.2.1",
        ),
        ("版本 1.2.3.4", "版本 1.2.3.4"),
        (
            "Windows 10.0.19045.3086, Chrome 120.0.6099.109",
            "Windows 10.0.19045.3086, Chrome 120.0.6099.109",
        ),
        (
            "chapters 1.2.3.4.5 and 1.2.3 and 300.1.1.1",
            "chapters 1.2.3.4.5 and 1.2.3 and 300.1.1.1",
        ),
        (
            "at 12:30:45, std::vector, a::b, Foo::Bar, x ::: y",
            "at 12:30:45, std::vector, a::b, Foo::Bar, x ::: y",
        ),
        ("MAC 00:1b:44:11:3a:b7", "MAC 00:1b:44:11:3a:b7"),
    ],
)
def test_ip_addresses(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # numbers that the schemes publish for tests
        ("card 4111 1111 1111 1111, ok", "card [CARD], ok"),
        ("4111111111111111", "[CARD]"),
        ("5555-5555-5555-4444 or 378282246310005", "[CARD] or [CARD]"),
        ("3782 822463 10005 / 6011111111111117", "[CARD] / [CARD]"),
        ("卡号6200000000000005。", "卡号[CARD]。"),
        ("4111 1111 1111 1111 12/27 123", "[CARD] 12/27 123"),
        ("am 30 4111 1111 1111 1111 2 mal", "am 30 [CARD] 2 mal"),
        ("４１１１１１１１１１１１１１１１", "[CARD]"),
        # no card: one digit wrong, a book, an article, a timestamp, a fraction, a row, a hash
        ("4111 1111 1111 1112", "4111 1111 1111 1112"),
        ("ISBN 978-3-16-148410-0, EAN 4006381333931", "ISBN 978-3-16-148410-0, EAN 4006381333931"),
        ("1700000000000 ms, 20260115102030", "1700000000000 ms, 20260115102030"),
        ("0.4111111111111111 and 3.141592653589793", "0.4111111111111111 and 3.141592653589793"),
        ("4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1", "4 1 1 1 1 1 1 1 1 1 1 1 1 1 1 1"),
        ("4111111111111111abcdef, x4111111111111111", "4111111111111111abcdef, x4111111111111111"),
        ("0000 0000 0000 0000", "0000 0000 0000 0000"),
        ("$4,111,111,111,111,111.00", "$4,111,111,111,111,111.00"),
    ],
)
def test_card_numbers(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # the examples of the standards and of the registries
        ("IBAN DE89 3704 0044 0532 0130 00 BIC COBADEFF", "IBAN [IBAN] BIC COBADEFF"),
        ("GB82WEST12345698765432.", "[IBAN]."),
        ("FR14 2004 1010 0505 0001 3M02 606", "[IBAN]"),
        ("NO9386011117947", "[IBAN]"),
        ("DE88 3704 0044 0532 0130 00", "DE88 3704 0044 0532 0130 00"),
        ("身份证11010519491231002X，谢谢", "身份证[ID]，谢谢"),
        ("440524188001010014", "[ID]"),
        ("Steuer-ID 86 095 742 719, IdNr. 47036892816", "Steuer-ID [ID], IdNr. [ID]"),
        ("RVNR 65 170839 J 003", "RVNR [ID]"),
        ("Ausweis T220001293", "Ausweis [ID]"),
        ("SSN 219-09-9999.", "SSN [ID]."),
        # no id: a check digit, a date, a province, a range that was never issued
        ("110105194912310021", "110105194912310021"),
        ("11010519491331002X 99010519491231002X", "11010519491331002X 99010519491231002X"),
        ("86 095 742 718, 12345678901", "86 095 742 718, 12345678901"),
        ("65 170839 J 004, 65 171339 J 003", "65 170839 J 004, 65 171339 J 003"),
        ("T220001294 HEAD1234567 REFERENCES", "T220001294 HEAD1234567 REFERENCES"),
        (
            "000-12-3456 666-12-3456 912-12-3456 123-00-1234",
            "000-12-3456 666-12-3456 912-12-3456 123-00-1234",
        ),
        ("2026-11-30, 12-34-5678, 1-219-09-9999-1", "2026-11-30, 12-34-5678, 1-219-09-9999-1"),
    ],
)
def test_accounts_and_ids(text: str, expected: str) -> None:
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Lieferung am 30.11.2026 um 12:30 Uhr für 1.234.567,89 EUR (§ 12 Abs. 3 Nr. 4).",
        "The release 2.51.0 of 2026-11-30T09:15:00Z has 1,234,567 lines; see RFC 6066, p. 12-15.",
        "订单号 20261130000123，价格 ¥1,299.00，2026年11月30日。",
        "3.14159265358979 0x1F4A 1e-10 52.520008,13.404954 50% 1/3 2^10",
        "commit d79af35b8f1c2e3a4b5c6d7e8f9a0b1c2d3e4f5a, sha256:e3b0c44298fc1c149afbf4c8996fb924",
        "ISBN 0-306-40615-2, ISBN 978-3-16-148410-0, DOI 10.1000/182, EAN 4006381333931",
        "123e4567-e89b-12d3-a456-426614174000",
        "",
    ],
)
def test_what_is_not_personal_stays(text: str) -> None:
    assert Masker(WITHOUT_EXTRAS).mask([text]) == [Masked(text)]
    pytest.importorskip("phonenumbers", reason="the extra masking is not installed")
    assert Masker(KINDS).mask([text]) == [Masked(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Ruf an: 030 12 34 567 oder +49 (0)171 1234567.", "Ruf an: [PHONE] oder [PHONE]."),
        ("Tel. 0171/1234567, (0228) 9969-0", "Tel. [PHONE], [PHONE]"),
        ("call (212) 555-2368 or 1-800-356-9377", "call [PHONE] or [PHONE]"),
        ("我的手机13812345678，座机010-62345678。", "我的手机[PHONE]，座机[PHONE]。"),
        ("+44 20 7946 0958; +33 1 42 68 53 00", "[PHONE]; [PHONE]"),
        ("555-2368, 1234567, 2023-2024", "555-2368, 1234567, 2023-2024"),
        ("Bestellnummer 4711-0815-2020, PLZ 53113", "Bestellnummer 4711-0815-2020, PLZ 53113"),
    ],
)
def test_telephone_numbers(text: str, expected: str) -> None:
    pytest.importorskip("phonenumbers", reason="the extra masking is not installed")
    assert masked(text, "phone") == expected


def test_local_numbers_are_those_of_the_countries() -> None:
    pytest.importorskip("phonenumbers", reason="the extra masking is not installed")
    text = "0142685300 and +33 1 42 68 53 00"
    assert Masker(["phone"], regions=()).mask([text])[0].text == "0142685300 and [PHONE]"
    assert Masker(["phone"], regions=["FR"]).mask([text])[0].text == "[PHONE] and [PHONE]"
    with pytest.raises(InputError, match="'XX' is no country of telephone numbers: write for ex"):
        Masker(["phone"], regions=["XX"])


def test_a_slow_text_ends_at_the_deadline() -> None:
    pytest.importorskip("phonenumbers", reason="the extra masking is not installed")
    end_s = time.monotonic() + 0.2
    with at_most_cpu_s(5), pytest.raises(DeadlineError, match="is up while it was masked"):
        Masker(["phone"]).mask(["030-1234567 " * 100_000], deadline_s=end_s)


def test_kinds_are_counted_and_win_in_their_order() -> None:
    found = Masker(WITHOUT_EXTRAS).mask(
        ["a@b.com, c@d.com and 192.0.2.1", "nothing", "DE89 3704 0044 0532 0130 00"]
    )
    assert [one.text for one in found] == ["[EMAIL], [EMAIL] and [IP]", "nothing", "[IBAN]"]
    assert counted(found) == {"email": 2, "ip": 1, "iban": 1}
    assert counted(Masker().mask(["a@b.com"])) == {}
    with pytest.raises(InputError, match="'iq' is nothing that can be masked: use email, ip, iban"):
        Masker(["iq"])


class Names:
    """A tagger that finds a name, as a model of the head tag does."""

    def tag(self, texts: Sequence[str], /) -> list[list[Entity]]:
        found = ((text, text.find("Ada Example")) for text in texts)
        return [
            [] if at < 0 else [Entity(text[at : at + 11], "PER", at, at + 11, 0.9)]
            for text, at in found
        ]


def test_the_entities_of_a_model_are_masked() -> None:
    masker = Masker(["email"], tagger=Names())
    found = masker.mask(["I am Ada Example, ada@example.com.", "nobody", "Ada Example@x.org"])
    # What two recognisers overlap in is masked as a whole.
    assert [one.text for one in found] == ["I am [PER], [EMAIL].", "nobody", "[EMAIL]"]
    assert counted(found) == {"per": 1, "email": 2}
    assert masker.is_slow
    assert not Masker(["email"]).is_slow


def test_a_span_of_the_masked_text_leads_back_to_the_original() -> None:
    original = "Anna (anna@example.com) from Bonn, 192.0.2.1, called."
    (found,) = Masker(["email", "ip"]).mask([original])
    assert found.text == "Anna ([EMAIL]) from Bonn, [IP], called."
    for part, expected in (
        ("Anna", "Anna"),
        ("[EMAIL]", "anna@example.com"),
        ("EMAIL", "anna@example.com"),
        ("([EMAIL])", "(anna@example.com)"),
        ("Bonn", "Bonn"),
        ("Bonn, [IP", "Bonn, 192.0.2.1"),
        ("called", "called"),
        (found.text, original),
    ):
        at = found.text.index(part)
        start, end = found.original(at, at + len(part))
        assert original[start:end] == expected
    assert found.spans == (Span(6, 22, "email"), Span(35, 44, "ip"))


PIECES = st.sampled_from(
    [
        *"0123456789 -.:@+()/aXDE\u00a0\uff11\u4e2d",
        *(
            "4111",
            "1111 1111 ",
            "DE89",
            "192.168.",
            "a@b.com",
            "::",
            "11010519491231002X",
            "+49 171",
        ),
    ]
)


@given(st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=60)))
def test_all_but_the_spans_stays(text: str) -> None:
    (found,) = Masker(WITHOUT_EXTRAS).mask([text])
    shown, end = "", 0
    for span in found.spans:
        assert end <= span.start < span.end <= len(text)
        shown += text[end : span.start] + span.placeholder
        end = span.end
    assert shown + text[end:] == found.text
    assert found.original(0, len(found.text)) == (0, len(text))
    for at in range(len(found.text)):
        start, stop = found.original(at, at + 1)
        assert 0 <= start < stop <= len(text)
        inside = any(span.start == start and span.end == stop for span in found.spans)
        assert inside or text[start:stop] == found.text[at]


@pytest.mark.parametrize(
    "text",
    ["a" * 100_000, "a." * 50_000, "a@" * 50_000, "a@a." * 25_000, "1" * 100_000, "1 " * 50_000,
     "4111 " * 20_000, "1111-" * 20_000, ":" * 100_000, "a:" * 50_000, "1." * 50_000,
     "DE89" * 25_000, "DE89 " * 20_000, "DE89 3704 0044 0532 " * 5_000, "A1" * 50_000,
     "@" * 100_000, "+" * 100_000, "x@" + "a." * 50_000 + "1"],
    ids=lambda text: text[:8],
)  # fmt: skip
def test_no_text_takes_long(text: str) -> None:
    start = time.process_time()
    Masker(WITHOUT_EXTRAS).mask([text])
    # A tenth of a second on a quiet machine; what grew with the square would take minutes.
    assert time.process_time() - start < 3


@pytest.fixture
def patterns(tmp_path: Path) -> Path:
    return tmp_path / "patterns.toml"


def test_own_patterns_mask_by_their_names(patterns: Path) -> None:
    pytest.importorskip("re2", reason="the extra masking is not installed")
    patterns.write_text(
        "[[pattern]]\nname = 'customer'\nregex = '\\bKD-\\d{6}\\b'\n"
        "[[pattern]]\nname = 'street'\nregex = '(?i)[\\p{L}]+straße \\d+'\n"
        "[[pattern]]\nname = 'evil'\nregex = '(a+)+$'\n"
    )
    masker = Masker(["email"], patterns=read_patterns(patterns))
    (found,) = masker.mask(["中文 KD-123456, Goethestraße 12, kd-123456@example.com, ab"])
    assert found.text == "中文 [CUSTOMER], [STREET], [EMAIL], ab"
    assert counted([found]) == {"customer": 1, "street": 1, "email": 1}
    start = time.process_time()  # Python's re would take longer than the age of the universe
    masker.mask(["a" * 100_000 + "b"])
    assert time.process_time() - start < 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("name = ", "cannot be read"),
        ("", r"must have tables \[\[pattern\]\] with a name and a regex, and nothing else"),
        ("pattern = 1", r"must have tables \[\[pattern\]\]"),
        ("other = 1\n[[pattern]]\nname='a'\nregex='b'", r"must have tables \[\[pattern\]\]"),
        ("[[pattern]]\nname='a'", "pattern 1 of .* must have a name and a regex, both text"),
        ("[[pattern]]\nname='a'\nregex=1", "pattern 1 of .* must have a name and a regex"),
        (
            "[[pattern]]\nname='A b'\nregex='a'",
            "the name 'A b' of pattern 1 .* is taken or not usa",
        ),
        ("[[pattern]]\nname='email'\nregex='a'", "the name 'email' of pattern 1 .* is taken"),
        (
            "[[pattern]]\nname='a'\nregex='('",
            "the regex of pattern 1 of .* is not one of RE2: miss",
        ),
        ("[[pattern]]\nname='a'\nregex='(?=a)b'", "is not one of RE2: invalid perl operator"),
        ("[[pattern]]\nname='a'\nregex='b*'", "the regex of pattern 1 of .* fits an empty text"),
        ("[[pattern]]\nname='a'\nregex='b'\n" * 101, "has 101 patterns, and may have 100"),
    ],
)
def test_unusable_patterns_are_refused(patterns: Path, content: str, message: str) -> None:
    pytest.importorskip("re2", reason="the extra masking is not installed")
    patterns.write_text(content)
    with pytest.raises(InputError, match=message):
        read_patterns(patterns)


def test_a_missing_extra_is_named(patterns: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    patterns.write_text("[[pattern]]\nname='a'\nregex='b'")
    absent: Any = None
    monkeypatch.setitem(__import__("sys").modules, "re2", absent)
    monkeypatch.setitem(__import__("sys").modules, "phonenumbers", absent)
    with pytest.raises(
        MissingExtraError, match=r"by own patterns needs .*'re2'.*lanner\[masking\]"
    ):
        read_patterns(patterns)
    with pytest.raises(MissingExtraError, match=r"telephone numbers needs .*'phonenumbers'"):
        Masker(["phone"])
