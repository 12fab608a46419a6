"""`/metrics` of running services."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import trustme

pytest.importorskip("uvicorn", reason="needs the extra 'service'")
pytest.importorskip("onnx", reason="needs the export extra to write a graph")
pytest.importorskip("prometheus_client", reason="needs the extra 'metrics'")

from prometheus_client.parser import text_string_to_metric_families
from tests.support.service import Service, serving
from tests.support.tls import identity
from tests.support.word_artifact import write_word_artifact

from lanner.service.access.expiry import CertificateExpiry
from lanner.service.access.keys import add_key
from lanner.service.core.exchange import Request
from lanner.service.core.figures import Figures
from lanner.service.metrics.families import FAMILIES, MOST_KEY_NAMES, REQUESTS


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_artifact(tmp_path_factory.mktemp("metrics") / "words.lanner")


def values(service: Service, **headers: str) -> dict[str, dict[tuple[tuple[str, str], ...], float]]:
    """Return the values by name and labels, as another program reads them."""
    found: dict[str, dict[tuple[tuple[str, str], ...], float]] = {}
    text = service.get("/metrics", **headers).body.decode()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = tuple(sorted(sample.labels.items()))
            found.setdefault(sample.name, {})[labels] = sample.value
    return found


def test_requests_texts_parts_and_refusals_are_counted(words: Path) -> None:
    with serving({"words": words}, mask=("email",), max_connections=3) as service:
        # Two texts of 2 and 1 words, of which one is masked; then a refusal of each kind.
        content = {"input": ["a b", "x@y.org"], "model": "words"}
        assert service.post("/v1/embeddings", content).status == 200
        assert service.post("/embed", {"inputs": []}).status == 400
        assert service.get("/nowhere").status == 404
        assert service.get("/ready").status == 200
        with socket.create_connection(("127.0.0.1", service.door.port)) as broken:
            broken.sendall(b"nonsense\r\n\r\n")
            assert broken.recv(100).startswith(b"HTTP/1.1 400")
        found = values(service)
    labels = (("key", ""), ("model", "words"), ("route", "/v1/embeddings"), ("status", "200"))
    assert found["lanner_requests_total"][labels] == 1
    model = (("model", "words"),)
    assert found["lanner_texts_total"][model] == 2
    assert found["lanner_masked_texts_total"][model] == 1
    assert found["lanner_masked_total"][("kind", "email"),] == 1
    for part in ("read", "decode", "mask", "tokenize", "queue", "model", "encode"):
        of_part = (("model", "words"), ("part", part))
        assert found["lanner_part_duration_seconds_count"][of_part] >= 1, part
    for reason in ("empty", "not_found", "malformed"):
        assert found["lanner_refusals_total"][("reason", reason),] == 1, reason
    assert found["lanner_model_ready"][model] == 1
    assert found["lanner_requests_in_flight"][()] == 1  # the scrape
    assert found["lanner_batch_texts_sum"][model] >= 2
    assert found["lanner_queue_age_seconds"][()] == 0
    assert found["process_resident_memory_bytes"][()] > 1e7
    assert abs(found["process_start_time_seconds"][()] - time.time()) < 86_400


def test_the_first_keys_have_names_and_their_expiry_is_known(words: Path, tmp_path: Path) -> None:
    file = tmp_path / "keys.json"
    token, _ = add_key(file, "team", expires="2100-01-01T00:00:00+00:00")
    with serving({"words": words}, keys=str(file)) as service:
        service.post("/embed", {"inputs": "a"}, authorization=f"Bearer {token}")
        service.post("/embed", {"inputs": "a"})
        found = values(service, authorization=f"Bearer {token}")
    route = ("route", "/embed")
    of_team = (("key", "team"), ("model", "words"), route, ("status", "200"))
    assert found["lanner_requests_total"][of_team] == 1
    unknown = (("key", ""), ("model", ""), route, ("status", "401"))
    assert found["lanner_requests_total"][unknown] == 1
    assert found["lanner_key_expiry_timestamp_seconds"][("key", "team"),] == 4_102_444_800
    figures = Figures()
    for number in range(MOST_KEY_NAMES + 10):
        request = Request("id", "POST", "/embed", {})
        _, request.key = add_key(tmp_path / f"{number}.json", f"key{number}")
        figures.note(request, 200, 0.1)
    names = {labels[2] for name, labels in figures.record().counts if name == REQUESTS.name}
    assert len(names) == MOST_KEY_NAMES + 1
    assert "other" in names


def test_names_of_tei(words: Path) -> None:
    with serving({"words": words}, metrics_compat="tei") as service:
        for _ in range(3):
            service.post("/embed", {"inputs": ["a b", "a"]})
        service.post("/embed", {"inputs": []})
        found = values(service)
    # prometheus-client appends the ending that TEI's names of counters lack.
    assert sum(found.get("te_request_count", found.get("te_request_count_total", {})).values()) == 4
    assert found["te_request_tokenization_duration_count"][()] == 3
    assert found["te_queue_size"][()] == 0
    assert found["te_batch_next_size_sum"][()] >= 6


@contextmanager
def triton(text: bytes) -> Iterator[str]:
    """Yield the address of a server that answers with metrics."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/metrics"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_metrics_of_triton_are_passed_on_and_no_other_names(words: Path) -> None:
    text = (
        b'# TYPE nv_inference_count counter\nnv_inference_count{model="m"} 3\n'
        b"lanner_texts_total 9\n"
    )
    with triton(text) as url, serving({"words": words}, triton_metrics=url) as service:
        found = values(service)
    assert sum(found["nv_inference_count_total"].values()) == 3
    assert list(found["lanner_texts_total"].values()) == [0]  # the service's own
    assert found["lanner_triton_up"][()] == 1
    with serving({"words": words}, triton_metrics=url) as service:
        assert values(service)["lanner_triton_up"][()] == 0


def test_the_expiry_of_a_certificate_is_that_of_openssl(tmp_path: Path) -> None:
    made = identity(trustme.CA(), tmp_path, "localhost", days=3)
    cryptography = pytest.importorskip("cryptography.x509", reason="trustme brings it")
    pem = made.certificate.read_bytes()
    expected = cryptography.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
    assert CertificateExpiry(made.certificate).seconds() == expected
    assert CertificateExpiry(tmp_path / "none").seconds() is None


def test_no_family_comes_twice() -> None:
    names = [family.name for family in FAMILIES]
    assert len(names) == len(set(names))


@pytest.mark.slow
def test_a_scrape_of_50_models_takes_less_than_50_ms(words: Path) -> None:
    models = {f"words{number}": words for number in range(50)}
    with serving(models, threads=1) as service:
        for name in models:
            content = {"input": ["a b", "a"], "model": name}
            assert service.post("/v1/embeddings", content).status == 200
        times_s = []
        for _ in range(10):
            begin_s = time.process_time()  # the service is in this process
            text = service.get("/metrics").body
            times_s.append(time.process_time() - begin_s)
    assert text.count(b"\n") > 7_000
    assert min(times_s) < 0.05, times_s
