"""Keys, rates, masking, TLS, CORS and the log of a whole service, over TCP."""

import contextlib
import json
import re
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")

from tests.support.service import Answer, Service, serving
from tests.support.tls import Identity, identity, root
from tests.support.word_artifact import write_word_artifact

import lanner
from lanner.errors import ServerError, UsageError
from lanner.service.access.keys import add_key, expiry, revoke_key
from lanner.service.dialects.routes import ROUTES
from lanner.service.settings import Settings

#: A request of each dialect that a service without keys answers with 200.
ASKED: dict[str, tuple[str, dict[str, object]]] = {
    "openai": ("/v1/embeddings", {"model": "words", "input": "a"}),
    "tei": ("/embed", {"inputs": "a", "model": "words"}),
    "cohere": (
        "/v2/embed",
        {
            "model": "words",
            "texts": ["a"],
            "input_type": "search_query",
            "embedding_types": ["float"],
        },
    ),
    "kserve": (
        "/v2/models/words_text/infer",
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
    ),
}
of_dialects = pytest.mark.parametrize("dialect", ASKED)


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("keys") / "keys.json"


@pytest.fixture(scope="module")
def first(keys: Path) -> str:
    return add_key(keys, "first")[0]


@pytest.fixture(scope="module")
def service(words: Path, keys: Path, first: str) -> Iterator[Service]:
    models = {"words": words, "other": words}
    with serving(models, keys=str(keys)) as running:
        yield running


def ask(service: Service, dialect: str, token: str | None, **headers: str) -> Answer:
    path, content = ASKED[dialect]
    if token is not None:
        headers["authorization"] = f"Bearer {token}"
    return service.post(path, content, **headers)


def error(answer: Answer) -> str:
    """The message of a refusal, in whatever shape."""
    content = answer.json
    found = content.get("message") or content["error"]
    return str(found["message"] if isinstance(found, dict) else found)


@of_dialects
def test_a_valid_key_is_let_in(service: Service, first: str, dialect: str) -> None:
    answer = ask(service, dialect, first)
    assert answer.status == 200, answer.body


@of_dialects
def test_a_missing_wrong_expired_or_revoked_key_is_the_dialects_401(
    service: Service, keys: Path, dialect: str
) -> None:
    revoked, _ = add_key(keys, f"revoked-{dialect}")
    assert ask(service, dialect, revoked).status == 200
    revoke_key(keys, f"revoked-{dialect}")
    expired, _ = add_key(keys, f"expired-{dialect}", expires="2020-01-01T00:00:00+00:00")
    bodies = set()
    for token in (None, "wrong", revoked, expired, revoked + "x"):
        answer = ask(service, dialect, token)
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == "Bearer"
        assert error(answer) == (
            "the request carries no valid key: send one as 'Authorization: Bearer KEY'"
        )
        bodies.add(re.sub(rb"[0-9a-f]{16}", b"", answer.body))
    assert len(bodies) == 1  # a caller cannot tell them apart
    shapes: dict[str, object] = {
        "openai": {
            "error": {
                "message": error(answer),
                "type": "authentication_error",
                "param": None,
                "code": "invalid_api_key",
            }
        },
        "tei": {"error": error(answer), "error_type": "Validation"},
        "kserve": {"error": error(answer)},
    }
    assert answer.json == shapes.get(dialect, answer.json)


def test_keys_come_in_the_headers_of_each_client(service: Service, first: str) -> None:
    for headers in (
        {"authorization": f"Bearer {first}"},
        {"authorization": first},
        {"x-api-key": first},
        {"api-key": first},
    ):
        assert ask(service, "openai", None, **headers).status == 200
    both = {"authorization": "Bearer wrong", "x-api-key": first}
    assert ask(service, "openai", None, **both).status == 401


def test_the_client_of_lanner_sends_a_key(service: Service, first: str) -> None:
    headers = {"authorization": f"Bearer {first}"}
    model = lanner.connect(service.url, "words", headers=headers)
    assert model.encode("a", normalize_embeddings=False)[:2].tolist() == [1, 0]
    with pytest.raises(ServerError, match="carries no valid key"):
        lanner.connect(service.url, "words")


def test_no_route_but_the_probes_answers_without_a_key(service: Service) -> None:
    closed = [route for route in ROUTES if not route.is_open]
    assert len(closed) > 20
    for route in closed:
        path = route.path.replace("{*}", "words").replace("{}", "words")
        answer = service.ask(route.method, path, b"{}" if route.method == "POST" else None, {})
        assert answer.status == 401, route.path
        assert error(answer).startswith("the request carries no valid key"), route.path


def test_only_probes_need_no_key(service: Service, first: str) -> None:
    open_paths = {"/health", "/ready", "/v2/health/live", "/v2/health/ready"}
    for path in ("/v1/models", "/info", "/metrics", "/docs", "/openapi.json", "/v2", *open_paths):
        assert service.get(path).status == (200 if path in open_paths else 401), path
        assert service.get(path, authorization=first).status == 200, path


def test_a_key_sees_its_models_alone(service: Service, keys: Path) -> None:
    token, _ = add_key(keys, "other-only", models=["other"])
    listed = service.get("/v1/models", authorization=token).json["data"]
    assert [one["id"] for one in listed] == ["other"]
    refused = ask(service, "openai", token)
    assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
    assert error(refused) == "there is no such model: the service has other"
    allowed = service.post("/v1/embeddings", {"input": "a"}, authorization=token)
    assert (allowed.status, allowed.json["model"]) == (200, "other")
    assert service.get("/v2/models/words", authorization=token).status == 404
    elsewhere, _ = add_key(keys, "elsewhere", models=["nothing-here"])
    answer = ask(service, "tei", elsewhere)
    assert answer.status == 403
    assert error(answer) == "the key is for other models than those of this service"


@of_dialects
def test_a_used_up_key_is_the_dialects_429(service: Service, keys: Path, dialect: str) -> None:
    token, _ = add_key(keys, f"slow-{dialect}", requests_per_minute=2)
    assert [ask(service, dialect, token).status for _ in range(3)] == [200, 200, 429]
    answer = ask(service, dialect, token)
    assert re.search(r"the key has used up what it may use: try again in \d\S* s", error(answer))
    assert 1 <= int(answer.headers["retry-after"]) <= 31


def test_tokens_are_charged(service: Service, keys: Path) -> None:
    token, _ = add_key(keys, "tokens", tokens_per_minute=10)
    content = {"model": "words", "input": ["a b c d"] * 10}
    sent = [service.post("/v1/embeddings", content, authorization=token) for _ in range(2)]
    assert [answer.status for answer in sent] == [200, 429]
    assert 170 < int(sent[1].headers["retry-after"]) <= 182  # 40 of 10 a minute


def test_a_key_of_the_file_counts_without_a_restart(service: Service, keys: Path) -> None:
    token, _ = add_key(keys, "late", expires=expiry("1h"))
    assert ask(service, "openai", token).status == 200


def test_requests_at_once_are_counted_until_they_end(service: Service, keys: Path) -> None:
    token, _ = add_key(keys, "one-at-once", concurrent=1)
    head = (
        f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nAuthorization: {token}\r\n"
        "Content-Length: 50\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", service.door.port)) as slow:
        slow.sendall(head.encode())
        deadline = time.monotonic() + 10
        while ask(service, "openai", token).status != 429 and time.monotonic() < deadline:
            pass
        assert ask(service, "openai", token).status == 429
    deadline = time.monotonic() + 10
    while ask(service, "openai", token).status != 200 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert ask(service, "openai", token).status == 200


def test_a_damaged_file_of_keys_lets_nobody_else_in(words: Path, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    token, _ = add_key(path, "a")
    with serving({"words": words}, keys=str(path)) as running:
        path.write_text("[]")
        assert ask(running, "openai", token).status == 200
        assert ask(running, "openai", None).status == 401


def test_lists_are_separated_by_commas_wherever_they_are_set() -> None:
    for given in ("email, ip", ["email,ip"], ["email", "ip"]):
        assert Settings.read(environment={}, flags={"mask": given}).mask == ("email", "ip")
    of_containers = {"LANNER_SERVE_MASK_REGIONS": "DE,AT", "LANNER_SERVE_ACCESS_LOG": "no"}
    found = Settings.read(environment=of_containers)
    assert (found.mask_regions, found.access_log) == (("DE", "AT"), False)
    with pytest.raises(UsageError, match="'iq' is nothing that can be masked: use email, ip, iban"):
        Settings.read(environment={"LANNER_SERVE_MASK": "email,iq"})


def test_texts_are_masked_before_a_model_reads_them(words: Path) -> None:
    # "a" and "b" are words of the model: a mail address is read, and its placeholder is not.
    with serving({"words": words}, mask=("email", "ip")) as running:
        answer = running.post("/v1/embeddings", {"input": ["a b@b.com", "a", "c 192.0.2.1"]})
        first, plain, third = (one["embedding"] for one in answer.json["data"])
        assert answer.json["usage"]["prompt_tokens"] == 9  # [, EMAIL and ] are unknown words
        with serving({"words": words}) as unmasked:
            content = {"input": ["a [EMAIL]", "a", "c [IP]"]}
            expected = unmasked.post("/v1/embeddings", content).json["data"]
        assert [first, plain, third] == [one["embedding"] for one in expected]
        counts = running.get("/metrics").body.decode()
        assert 'lanner_masked_total{kind="email"} 1' in counts
        assert 'lanner_masked_total{kind="ip"} 1' in counts
        tensors = [
            {"name": name, "shape": [1, 1], "datatype": "INT64", "data": [1]}
            for name in ("input_ids", "attention_mask")
        ]
        refused = running.post("/v2/models/words/infer", {"inputs": tensors})
        assert refused.status == 400
        assert error(refused) == (
            "the service masks texts, so the model words takes texts and no token ids: ask for "
            "words_text"
        )


def test_entities_of_masked_texts_are_where_the_original_has_them(
    tagger_artifact: Any, words: Path
) -> None:
    models = {"tagger": tagger_artifact.directory}
    text = "Anna Schmidt (anna@example.com) lives in Bonn."
    asked = {"inputs": text, "parameters": {"ignore_labels": []}}
    with serving(models, mask=("email",)) as running:
        answer = running.post("/tag", asked)
        assert answer.status == 200, answer.body
        spans = [(one["start"], one["end"]) for one in answer.json]
        assert [one["word"] for one in answer.json] == [text[start:end] for start, end in spans]
        # The model labels every token, of which the placeholder has some.
        assert any(start <= text.index("anna@") < end for start, end in spans)
        assert spans[-1][1] in (len(text), len(text) - 1)


def test_a_model_of_the_head_tag_masks(tagger_artifact: Any, words: Path) -> None:
    path = str(tagger_artifact.directory)
    with serving({"words": words}, mask_with=path) as running:
        assert running.post("/v1/embeddings", {"input": "a b"}).status == 200
        assert running.app.pipeline.masker is not None
        assert running.app.pipeline.masker.is_slow


def test_tls_with_a_certificate_that_is_renewed(words: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    own = identity(authority, tmp_path, "localhost")
    context = ssl.create_default_context()
    authority.configure_trust(context)

    def serial(port: int) -> str:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            wrapped.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert wrapped.recv(1000).startswith(b"HTTP/1.1 200 OK")
            certificate = wrapped.getpeercert()
            assert certificate is not None
            return str(certificate["serialNumber"])

    files = {"tls_certificate": str(own.certificate), "tls_key": str(own.key)}
    with serving({"words": words}, **files) as running:
        before = serial(running.door.port)
        fresh = identity(authority, tmp_path, "localhost", file="fresh")
        fresh.key.replace(own.key)
        fresh.certificate.replace(own.certificate)
        assert serial(running.door.port) != before
        with socket.create_connection(("127.0.0.1", running.door.port), timeout=10) as plain:
            plain.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
            with contextlib.suppress(ConnectionError):
                assert not plain.recv(1000).startswith(b"HTTP/1.1 200")


def test_mutual_tls_needs_a_certificate_of_the_client(words: Path, tmp_path: Path) -> None:
    authority, others = trustme.CA(), trustme.CA()
    own = identity(authority, tmp_path, "localhost")
    files = {
        "tls_certificate": str(own.certificate),
        "tls_key": str(own.key),
        "tls_client_ca": str(root(authority, tmp_path / "clients.pem")),
    }

    def answer(port: int, client: Identity | None) -> bytes:
        context = ssl.create_default_context()
        authority.configure_trust(context)
        if client is not None:
            context.load_cert_chain(client.certificate, client.key)
        with (
            socket.create_connection(("127.0.0.1", port), timeout=10) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as wrapped,
        ):
            wrapped.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return wrapped.recv(1000)

    with serving({"words": words}, **files) as running:
        known = identity(authority, tmp_path, "client.example")
        assert answer(running.door.port, known).startswith(b"HTTP/1.1 200 OK")
        for client in (None, identity(others, tmp_path, "stranger.example")):
            refused = b""
            with contextlib.suppress(ssl.SSLError):  # uvloop may close before it says why
                refused = answer(running.door.port, client)
            assert refused == b""


def test_pages_of_named_origins_may_call(words: Path) -> None:
    origins = ("https://app.example.org",)
    with serving({"words": words}, cors_origins=origins) as running:
        asked = {"origin": "https://app.example.org", "access-control-request-method": "POST"}
        preflight = running.ask("OPTIONS", "/v1/embeddings", None, asked)
        assert (preflight.status, preflight.body) == (204, b"")
        assert preflight.headers["access-control-allow-origin"] == origins[0]
        for origin, allowed in ((origins[0], True), ("https://evil.example", False)):
            answer = running.post("/v1/embeddings", {"input": "a"}, origin=origin)
            assert answer.status == 200
            assert ("access-control-allow-origin" in answer.headers) == allowed


def test_a_request_is_one_line_of_the_log_without_its_text(
    words: Path, keys: Path, first: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with serving(
        {"words": words}, keys=str(keys), log="json", access_log=True, mask=("email",)
    ) as running:
        secret = "XQZ" * 3
        ask(running, "openai", first)
        running.post("/v1/embeddings", {"input": f"{secret} a@b.com"}, x_api_key=first)
        running.post("/v1/embeddings", {"input": [{secret: secret}]}, x_api_key=first)
        running.post(f"/v1/{secret}?{secret}", secret.encode(), x_request_id=f"{secret} \x85")
        running.post("/v1/embeddings", {"input": secret}, authorization=secret)
        unknown = {"model": secret, "input": "a"}
        answers = [running.post("/v1/embeddings", unknown, x_api_key=first).body]
        answers.append(running.get("/metrics", x_api_key=first).body)
    shown = capfd.readouterr().err
    assert secret not in shown
    assert first not in shown
    assert all(secret.encode() not in answer for answer in answers)
    lines = [json.loads(line) for line in shown.splitlines() if line.startswith("{")]
    requests = [line for line in lines if line["event"] == "request"]
    assert [(one["status"], one["key"], one["route"]) for one in requests] == [
        (200, "first", "/v1/embeddings"),
        (200, "first", "/v1/embeddings"),
        (400, "first", "/v1/embeddings"),
        (404, None, None),
        (401, None, "/v1/embeddings"),
        (404, "first", "/v1/embeddings"),
        (200, "first", "/metrics"),
    ]
    masked = requests[1]
    assert (masked["model"], masked["texts"], masked["tokens"]) == ("words", 1, 4)
    assert masked["masked"] == {"email": 1}
    assert {"read", "decode", "mask", "tokenize", "model", "encode"} <= masked["parts_ms"].keys()
    assert masked["ms"] > 0
