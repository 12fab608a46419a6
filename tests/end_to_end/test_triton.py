"""The whole way: artifacts, a repository, a real Triton server, clients."""

import asyncio
import gc
import json
import os
import signal
import threading
import urllib.request
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import pytest
from tests.support.marks import slow
from tests.support.waiting import wait_until

import lanner
from lanner.artifact.artifact import Artifact
from lanner.errors import (
    DeadlineError,
    InputError,
    LannerError,
    ModelUnavailableError,
    Overloaded,
    ServerError,
    ServerUnavailableError,
    UnsupportedError,
)

pytest.importorskip("tritonclient.grpc", reason="needs the triton extra")

from lanner.triton.client.triton_engine import TritonEngine
from lanner.triton.lint.linter import lint
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import write_repository
from lanner.triton.server.installation import Installation
from lanner.triton.server.server import TritonServer
from lanner.triton.server.stubs import stubs

pytestmark = pytest.mark.no_transformers

HEADS = ("embed", "score", "classify", "tag", "sparse", "tokens")
TEXTS = [
    "a man is eating",
    "two dogs",
    "",
    "a",
    "\N{FOX FACE} \u4f60\u597d a man",
    "man " * 300,
    *(f"a man {'plays the guitar ' * count}" for count in range(12)),
]
PAIRS = [(text, TEXTS[-number]) for number, text in enumerate(TEXTS, 1)]


class Served(NamedTuple):
    server: TritonServer
    artifacts: dict[str, Artifact]


def start(
    repository: Path, tritonserver: Installation, *options: str, http: int = 0, grpc: int = 0
) -> TritonServer:
    return TritonServer(
        repository,
        http_port=http,
        grpc_port=grpc,
        metrics_port=0,
        installation=tritonserver,
        options=options,
    )


def fetch(url: str, method: str = "GET") -> bytes:
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as reply:  # noqa: S310
        content: bytes = reply.read()
    return content


@pytest.fixture(scope="module")
def served(
    tritonserver: Installation,
    tiny_artifact: Artifact,
    scorer_artifact: Artifact,
    classifier_artifact: Artifact,
    tagger_artifact: Artifact,
    splade_artifact: Artifact,
    colbert_artifact: Artifact,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Served]:
    """Yield a server with every head, and with a model whose text model calls its token model."""
    artifacts = dict(
        zip(
            HEADS,
            (
                tiny_artifact,
                scorer_artifact,
                classifier_artifact,
                tagger_artifact,
                splade_artifact,
                colbert_artifact,
            ),
            strict=True,
        )
    )
    repository = tmp_path_factory.mktemp("served") / "repository"
    directories = [artifact.directory for artifact in artifacts.values()]
    write_repository(directories, repository, names=HEADS, variant="fp32")
    remembering = Serving(response_cache=True)
    write_repository(
        [tiny_artifact.directory], repository, names=["cached"], variant="fp32", serving=remembering
    )
    sharing = Serving(shares_engine=True)
    write_repository(
        [tiny_artifact.directory], repository, names=["chained"], variant="fp32", serving=sharing
    )
    assert lint(repository) == []
    with start(repository, tritonserver) as server:
        yield Served(server, artifacts)
        gc.collect()  # closes the connections of models, for which Triton would wait 30 s


def ask(model: Any, head: str) -> Any:
    if head == "embed":
        return model.encode(TEXTS)
    if head == "sparse":
        return model.encode_sparse(TEXTS).toarray()
    if head == "tokens":
        tasks = ("document", "query")
        return np.concatenate([v for t in tasks for v in model.encode_tokens(TEXTS, task=t)])
    if head == "score":
        return model.score(PAIRS)
    if head == "classify":
        return [list(one.scores.values()) for one in model.classify([*TEXTS, *PAIRS])]
    return [[(e.text, e.label, e.start, e.end) for e in found] for found in model.tag(TEXTS)]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
@pytest.mark.parametrize("suffix", ["", "_text"])
@pytest.mark.parametrize("head", HEADS)
def test_every_head_answers_as_in_process(
    served: Served, head: str, suffix: str, protocol: str
) -> None:
    url = served.server.grpc_url if protocol == "grpc" else served.server.http_url
    model = lanner.connect(url, f"{head}{suffix}")
    expected = ask(lanner.load(served.artifacts[head].directory, variant="fp32"), head)
    found = ask(model, head)
    if head == "tag":
        assert found == expected
    else:
        np.testing.assert_allclose(found, expected, atol=1e-5)
    assert model.variant.name == "fp32"
    assert f"engine='triton', workers={model.runner.workers}" in repr(model)


def test_a_text_model_may_call_the_token_model(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "chained_text")
    expected = lanner.load(served.artifacts["embed"].directory, variant="fp32").encode(TEXTS)
    np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


@pytest.mark.parametrize("suffix", ["", "_text"])
def test_callers_of_all_lengths_batch_and_get_their_own(served: Served, suffix: str) -> None:
    """Check that each text's cosine with itself in process is at least 0.9999 in every batch."""
    model = lanner.connect(served.server.grpc_url, f"embed{suffix}")
    texts = [f"{text} {number}" for number in range(20) for text in TEXTS]
    expected = lanner.load(served.artifacts["embed"].directory, variant="fp32").encode(texts)
    with ThreadPoolExecutor(16) as threads:
        found = np.stack(list(threads.map(model.encode, texts)))
    cosines = (found * expected).sum(axis=1)
    cosines /= np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    assert cosines.min() >= 0.9999
    reply = fetch(f"{served.server.http_url}/v2/models/embed{suffix}/stats")
    (stats,) = json.loads(reply)["model_stats"]
    assert stats["execution_count"] < stats["inference_count"]


def test_a_large_call_keeps_its_order(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "embed", request_tokens=64)
    texts = [f"man {'a ' * (number % 37)}{number}" for number in range(1_000)]
    expected = lanner.load(served.artifacts["embed"].directory, variant="fp32").encode(texts)
    np.testing.assert_allclose(model.encode(texts), expected, atol=1e-5)


@pytest.mark.parametrize(("protocol", "held"), [("http", "_connections"), ("grpc", "_client")])
def test_the_connections_of_a_dropped_model_end(served: Served, protocol: str, held: str) -> None:
    model = lanner.connect(getattr(served.server, f"{protocol}_url"), "embed")
    model.encode(TEXTS)
    transport = cast("TritonEngine", model.runner.engine).transport
    assert getattr(transport, held) is not None
    gc.disable()
    try:
        del model
        assert getattr(transport, held) is None
    finally:
        gc.enable()


def test_answers_are_awaited(served: Served) -> None:
    async def main() -> Any:
        model = await lanner.connect_async(served.server.grpc_url, "embed")
        return await asyncio.gather(*(model.encode(text) for text in TEXTS))

    expected = lanner.load(served.artifacts["embed"].directory, variant="fp32").encode(TEXTS)
    np.testing.assert_allclose(asyncio.run(main()), expected, atol=1e-5)


def test_what_was_answered_is_remembered(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "cached_text")
    text = "a text that nobody else asks for"
    np.testing.assert_array_equal(model.encode(text), model.encode(text))
    metrics = fetch(served.server.metrics_url).decode()
    hits = [line for line in metrics.splitlines() if line.startswith("nv_cache_num_hits")]
    assert any('model="cached_text"' in line and float(line.split()[-1]) >= 1 for line in hits)


def test_a_server_says_what_it_is_and_what_it_has_done(served: Served) -> None:
    transports = [
        cast("Any", lanner.connect(url, "embed").runner.engine).transport
        for url in (served.server.grpc_url, served.server.http_url)
    ]
    (grpc, http) = (transport.server() for transport in transports)
    assert grpc == http
    assert (http["name"], "statistics" in http["extensions"]) == ("triton", True)
    (grpc, http) = (transport.statistics("embed", "")[0] for transport in transports)
    assert int(grpc["inference_count"]) == http["inference_count"] > 0
    assert int(grpc["inference_stats"]["success"]["ns"]) > 0
    for transport in transports:
        with pytest.raises(
            LannerError, match=r"^the model gone on .*: requested model 'gone' is no"
        ):
            transport.statistics("gone", "")


def test_a_model_that_is_not_there_is_named(served: Served) -> None:
    message = r"^the model gone on .* is not there or not ready: .*'gone' is not found"
    for url in (served.server.grpc_url, served.server.http_url):
        with pytest.raises(ModelUnavailableError, match=message):
            lanner.connect(url, "gone")


def test_a_version_that_is_not_there_is_named(served: Served) -> None:
    with pytest.raises(ModelUnavailableError, match=r"^the model embed \(version 7\) on grpc"):
        lanner.connect(served.server.grpc_url, "embed", version="7")


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_cannot_be_answered_fails_alone(served: Served, protocol: str) -> None:
    """Check that a refused request does not affect the requests in its batch."""
    url = served.server.grpc_url if protocol == "grpc" else served.server.http_url
    model = lanner.connect(url, "embed")
    engine = model.runner.engine
    ids = np.full((1, 70), 5, dtype=np.int64)
    wrong = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    wrong = {name: wrong.get(name, np.zeros_like(ids)) for name in model.manifest.inputs}
    expected = model.encode("a man")

    def send(number: int) -> str:
        if number % 4:
            np.testing.assert_allclose(model.encode("a man"), expected, atol=1e-5)
            return ""
        with pytest.raises(InputError) as caught:
            engine.run(wrong)
        return str(caught.value)

    with ThreadPoolExecutor(8) as threads:
        messages = {message for message in threads.map(send, range(40)) if message}
    (message,) = messages
    assert message.endswith("tiny takes at most 16 tokens, and a text has 70: cut it")


def test_token_types_that_no_text_has(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "score")
    ids = np.full((1, 3), 5, dtype=np.int64)
    wrong = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": ids}
    with pytest.raises(InputError, match=r"knows the token types 0 and 1, .* not 5: tokenise with"):
        model.runner.engine.run(wrong)


def test_a_deadline_is_kept(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "embed")
    with pytest.raises(DeadlineError, match=r"^the deadline passed before "):
        model.encode(TEXTS * 500, timeout_ms=1)


def test_prompts_are_those_of_the_checkpoint(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "embed")
    in_process = lanner.load(served.artifacts["embed"].directory, variant="fp32")
    assert model.prompts == in_process.prompts
    assert model.max_seq_length == in_process.max_seq_length
    with pytest.raises(InputError, match=r"has no prompt 'gone': it has "):
        model.encode("a", prompt_name="gone")


def test_an_artifact_stands_in_for_what_a_server_does_not_carry(
    served: Served, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    artifact = served.artifacts["embed"].directory
    write_repository([artifact], repository, names=["bare"], with_text=False, variant="fp32")
    config = repository / "bare" / "config.pbtxt"
    text = config.read_text(encoding="utf-8")
    config.write_text(text.replace("lanner_file.", "other_file."), encoding="utf-8")
    with start(repository, tritonserver) as server:
        with pytest.raises(ServerError, match=r"carries no tokenizer of its version 1: make its "):
            lanner.connect(server.grpc_url, "bare")
        model = lanner.connect(server.grpc_url, "bare", artifact=artifact)
        expected = lanner.load(artifact, variant="fp32").encode(TEXTS)
        np.testing.assert_allclose(model.encode(TEXTS), expected, atol=1e-5)


@pytest.mark.slow
def test_a_full_queue_refuses(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    serving = Serving(max_queue_size=1)
    write_repository([tiny_artifact.directory], repository, names=["m"], serving=serving)
    with start(repository, tritonserver) as server:
        model = lanner.connect(server.grpc_url, "m", requests_at_once=32, request_tokens=64)
        refused = outcomes(lambda number: model.encode([f"{number} man"] * 64), calls=200)
    assert {type(error) for error in refused} <= {Overloaded}
    assert refused
    assert str(refused[0]).endswith("waiting as its queue takes: try again later")


@pytest.mark.slow
def test_a_new_version_takes_over_under_load(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    write_repository([tiny_artifact.directory], repository, names=["m"], variant="fp32")
    options = ("--model-control-mode=explicit", "--load-model=*")
    expected = lanner.load(tiny_artifact.directory, variant="fp32").encode(TEXTS)
    with start(repository, tritonserver, *options) as server:
        models = [lanner.connect(server.grpc_url, name) for name in ("m", "m_text")]
        stop = threading.Event()

        def versions() -> list[str]:
            return [cast("Any", model.runner.engine).served.version for model in models]

        def call(number: int) -> int:
            count = 0
            while not stop.is_set():
                found = models[number % 2].encode(TEXTS)
                np.testing.assert_allclose(found, expected, atol=1e-5)
                count += 1
            return count

        with ThreadPoolExecutor(6) as threads:
            calls = [threads.submit(call, number) for number in range(6)]
            try:
                write_repository([tiny_artifact.directory], repository, names=["m"], variant="fp32")
                for name in ("m", "m_text"):
                    fetch(f"{server.http_url}/v2/repository/models/{name}/load", "POST")
                wait_until(lambda: versions() == ["2", "2"], within_s=60)
            finally:
                stop.set()
            assert all(call.result() > 0 for call in calls)


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    write_repository([tiny_artifact.directory], repository, names=["m"], variant="fp32")
    expected = lanner.load(tiny_artifact.directory, variant="fp32").encode("a man")
    with start(repository, tritonserver) as server:
        model = lanner.connect(server.grpc_url, "m", retries=0)
        patient = lanner.connect(server.http_url, "m", retries=60)
        http, grpc = (int(url.rpartition(":")[2]) for url in (server.http_url, server.grpc_url))

        def kill(number: int) -> Any:
            if number == 100:
                os.kill(server.pid, signal.SIGKILL)
            return model.encode("a man")

        failed = outcomes(kill, calls=400)
    assert failed
    assert {type(error) for error in failed} == {ServerUnavailableError}
    messages = {str(error).partition(" (")[0] for error in failed}
    gone, off = f"no server answers at {server.grpc_url}", " broke the connection off"
    assert gone in messages
    assert messages <= {gone, server.grpc_url + off}
    assert not any("TLS" in str(error) for error in failed)  # it is known that none is used
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(patient.encode, "a man")
        with start(repository, tritonserver, http=http, grpc=grpc):
            np.testing.assert_allclose(waiting.result(), expected, atol=1e-5)
            # A channel connects again once a second.
            wait_until(lambda: not outcomes(lambda _: model.encode("a man"), calls=1), within_s=60)
            np.testing.assert_allclose(model.encode("a man"), expected, atol=1e-5)


@pytest.mark.slow
def test_a_model_whose_process_died_is_waited_for(
    tiny_artifact: Artifact, tmp_path: Path, tritonserver: Installation
) -> None:
    repository = tmp_path / "repository"
    serving = Serving(shares_engine=True)
    write_repository(
        [tiny_artifact.directory], repository, names=["m"], variant="fp32", serving=serving
    )
    expected = lanner.load(tiny_artifact.directory, variant="fp32").encode("a man")
    with start(repository, tritonserver) as server:
        urls = server.http_url, server.grpc_url
        models = [lanner.connect(url, name, retries=0) for url in urls for name in ("m", "m_text")]
        patient = lanner.connect(server.grpc_url, "m", retries=60)
        http, grpc = (int(url.rpartition(":")[2]) for url in urls)
        pid = next(stub.pid for stub in stubs(server.pid) if stub.model == "m version 1")
        os.kill(pid, signal.SIGKILL)
        for model in models:
            with pytest.raises(
                ModelUnavailableError, match=r"^the model m(_text)? on .* its process there died \("
            ):
                model.encode("a man")
        # It still looks healthy from outside.
        assert fetch(f"{server.http_url}/v2/health/ready") == b""
        with ThreadPoolExecutor(1) as threads:
            waiting = threads.submit(patient.encode, "a man")
            with pytest.raises(ServerError, match=r"^the process of m version 1 died, and triton"):
                server.wait()
            with start(repository, tritonserver, http=http, grpc=grpc):
                np.testing.assert_allclose(waiting.result(), expected, atol=1e-5)


def test_a_prompt_that_is_not_pooled_is_for_the_token_model(served: Served) -> None:
    model = lanner.connect(served.server.grpc_url, "embed_text")
    with pytest.raises(UnsupportedError, match=r"connect to the token model for 'query: '$"):
        model.tokenizer.count_prompt_tokens("query: ")


@pytest.mark.parametrize("shares_engine", [False, *slow(True)])
def test_a_text_model_puts_the_named_prompt_before_each_text(
    word_artifact: Path, tritonserver: Installation, tmp_path: Path, *, shares_engine: bool
) -> None:
    repository = tmp_path / "repository"
    serving = Serving(shares_engine=shares_engine)
    write_repository([word_artifact], repository, names=["words"], variant="fp32", serving=serving)
    assert lint(repository) == []
    with (
        start(repository, tritonserver) as server,
        lanner.connect(server.grpc_url, "words_text") as model,
    ):
        # The prompt "query" is "a "; see tests.support.word_artifact.
        assert model.encode("b").tolist() == [0, 1, 0, 0]
        assert model.encode("b", prompt_name="query").tolist() == [0.5, 0.5, 0, 0]
        assert model.encode("b", prompt="c ").tolist() == [0, 0.5, 0.5, 0]
        found = model.search(["b"], ["a", "c", "b c"], k=3)
        np.testing.assert_allclose(found.scores, [[0.5**0.5, 0.5, 0]], atol=1e-6)
        assert found.indices.tolist() == [[0, 2, 1]]
        with ThreadPoolExecutor(8) as threads:  # requests with different prompts share batches
            names = ["query", "none"] * 20
            vectors = threads.map(lambda name: model.encode("b", prompt_name=name).tolist(), names)
            assert list(vectors) == [[0.5, 0.5, 0, 0], [0, 1, 0, 0]] * 20
        with pytest.raises(
            InputError, match=r"^words has no prompt 'title': it has 'query', 'none'"
        ):
            model.encode("b", prompt_name="title")


def outcomes(call: Callable[[int], Any], *, calls: int) -> list[LannerError]:
    """Return the errors of `calls` calls from 16 threads."""

    def attempt(number: int) -> LannerError | None:
        try:
            call(number)
        except LannerError as error:
            return error
        return None

    with ThreadPoolExecutor(16) as threads:
        return [error for error in threads.map(attempt, range(calls)) if error is not None]
