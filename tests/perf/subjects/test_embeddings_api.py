"""The benchmarks' client of OpenAI's API, at a real service."""

import socket
import threading
from collections.abc import Iterator

import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'service'")

from tests.support.service import serving
from tests.support.word_artifact import write_word_artifact

from lanner_perf.subjects.embeddings_api import Endpoint, ask, ask_at_once, body_of, vectors_of


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    artifact = write_word_artifact(tmp_path_factory.mktemp("words") / "words.lanner")
    with serving({"words": artifact}, max_texts=10) as service:
        yield Endpoint(f"{service.url}/v1", "words")


def test_it_gets_the_vectors_and_the_models(endpoint: Endpoint) -> None:
    assert [(one["id"], one["owned_by"]) for one in endpoint.models()] == [("words", "lanner")]
    with endpoint.connect() as connection:
        for _ in range(2):
            vectors = vectors_of(ask(connection, endpoint.request(["b", "a"])))
            assert vectors.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0]]
        with pytest.raises(RuntimeError, match=r"the service answers 413 .*11 texts, and may have"):
            ask(connection, endpoint.request(["a"] * 11))


def test_callers_share_the_requests_and_each_is_timed(endpoint: Endpoint) -> None:
    times = ask_at_once(endpoint, [endpoint.request(["a"])] * 20, 3)
    assert len(times) == 20
    assert all(0 <= sent_s < answered_s for sent_s, answered_s in times)
    first_answer_s = min(answered_s for _, answered_s in times)
    # Three are sent at once; each later one when an answer has freed its connection.
    assert sum(sent_s < first_answer_s for sent_s, _ in times) == 3
    assert {sent_s for sent_s, _ in times[3:]} <= {answered_s for _, answered_s in times}
    with pytest.raises(RuntimeError, match="the service answers 404"):
        ask_at_once(
            Endpoint(endpoint.url, "other"), [endpoint._replace(model="x").request(["a"])], 1
        )


def test_an_answer_is_read_to_its_end_and_no_further() -> None:
    whole = b"HTTP/1.1 200 OK\r\nA: b\r\nContent-Length: 4\r\n\r\n{\r\n}"
    assert [body_of(whole[:end]) for end in range(len(whole))] == [None] * len(whole)
    assert body_of(whole) == b"{\r\n}"


def test_a_service_that_leaves_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def leave() -> None:
            listening.accept()[0].close()

        threading.Thread(target=leave, daemon=True).start()
        endpoint = Endpoint(f"http://127.0.0.1:{listening.getsockname()[1]}/v1", "m")
        with (
            endpoint.connect() as connection,
            pytest.raises(ConnectionError, match=r"the service closed|reset by peer"),
        ):
            ask(connection, endpoint.request(["a"]))
