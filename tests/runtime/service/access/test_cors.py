import pytest

from lanner.errors import UsageError
from lanner.service.access.cors import cors_headers, is_preflight, parse_origins

ORIGINS = parse_origins(["https://App.example.org/", " http://localhost:3000", "http://[::1]:80"])


def asked(origin: bytes, **headers: bytes) -> list[tuple[bytes, bytes]]:
    more = [(name.replace("_", "-").encode(), value) for name, value in headers.items()]
    return [(b"host", b"x"), (b"origin", origin), *more]


def test_origins_are_written_as_browsers_send_them() -> None:
    assert ORIGINS == ("https://app.example.org", "http://localhost:3000", "http://[::1]:80")
    for wrong in ("app.example.org", "https://a.example/b", "null", "https://*.example.org", ""):
        with pytest.raises(UsageError, match="is no origin: write for example https"):
            parse_origins([wrong])


def test_cors_is_off_unless_origins_are_named() -> None:
    assert cors_headers((), "POST", asked(b"https://app.example.org")) == []


def test_a_page_of_a_named_origin_may_read_the_answer() -> None:
    found = dict(cors_headers(ORIGINS, "POST", asked(b"https://app.example.org")))
    assert found == {
        b"vary": b"origin",
        b"access-control-allow-origin": b"https://app.example.org",
        b"access-control-expose-headers": b"retry-after, retry-after-ms, x-request-id",
    }


@pytest.mark.parametrize(
    "origin",
    [
        b"https://evil.example",
        b"https://app.example.org.evil.example",
        b"http://app.example.org",
        b"https://app.example.org:444",
        b"null",
        b"*",
        b"",
        b"\xff\xfe",
        b"https://app.example.org\r\nx: y",
    ],
)
def test_no_other_page_may(origin: bytes) -> None:
    preflight = asked(origin, access_control_request_method=b"POST")
    for method, headers in (("POST", asked(origin)), ("OPTIONS", preflight)):
        assert cors_headers(ORIGINS, method, headers) == [(b"vary", b"origin")]


def test_a_preflight_allows_headers_by_name() -> None:
    headers = asked(
        b"http://localhost:3000",
        access_control_request_method=b"POST",
        access_control_request_headers=b"authorization, content-type,x-stainless-os",
    )
    assert is_preflight("OPTIONS", headers)
    assert dict(cors_headers(ORIGINS, "OPTIONS", headers)) == {
        b"vary": b"origin",
        b"access-control-allow-origin": b"http://localhost:3000",
        b"access-control-allow-methods": b"GET, POST, OPTIONS",
        b"access-control-max-age": b"7200",
        b"access-control-allow-headers": b"authorization, content-type,x-stainless-os",
    }


@pytest.mark.parametrize("asked_for", [b"a\r\nset-cookie: b", b"a b", b",", b"\x00", b"a," * 2000])
def test_headers_that_are_no_names_are_not_repeated(asked_for: bytes) -> None:
    headers = asked(
        b"http://localhost:3000",
        access_control_request_method=b"POST",
        access_control_request_headers=asked_for,
    )
    found = cors_headers(ORIGINS, "OPTIONS", headers)
    assert b"access-control-allow-headers" not in dict(found)


def test_any_origin_gets_no_cookies() -> None:
    found = dict(cors_headers(parse_origins(["*"]), "GET", asked(b"https://any.example")))
    assert found[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in found
    assert not is_preflight("GET", asked(b"https://any.example"))
    assert not is_preflight("OPTIONS", [])
