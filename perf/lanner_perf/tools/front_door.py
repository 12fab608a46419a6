"""Time that the service adds: the same model in process and through `lanner serve`, over loopback.

    python -m lanner_perf.tools.front_door build/minilm.lanner --output build/front_door.json

Both are measured in turns on the same cores, which the client and the service share: the p50 of one
text, texts a second of many callers of one text each, and of one call of 1,000 texts. The client is
a bare socket, so that the figures are of the service and not of somebody's client.
"""

import argparse
import base64
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from lanner.commands.options import positive
from lanner.errors import BenchmarkError
from lanner.files.staging import require_output_file, staged_file
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load
from lanner.machine.machine import package_versions, this_machine
from lanner.models.embedding import EmbeddingModel
from lanner_perf.subjects.workloads import SEED

CALLERS = (16, 64)
LARGE_CALL = 1_000
_PACKAGES = ("lanner", "uvicorn", "uvloop", "httptools", "msgspec", "orjson", "onnxruntime")


@dataclass(frozen=True)
class Figures:
    """The figures of a model, in process or through the service.

    Attributes:
        one_text_p50_ms: The median time of a call of one text.
        callers_texts_per_s: By the number of callers of one text each, texts a second.
        large_call_texts_per_s: Texts a second of one call of `LARGE_CALL` texts.
    """

    one_text_p50_ms: float
    callers_texts_per_s: dict[int, float]
    large_call_texts_per_s: float


#: Encodes some texts, and returns vectors.
Encode = Callable[[list[str]], Any]


class Connection:
    """A kept connection that asks `/v1/embeddings` for base64, with no more than that takes."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname, parts.port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def encode(self, texts: list[str]) -> Any:
        """Return the vectors of texts, float32 [n, dimension]."""
        body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        content = json.loads(self._answer())
        rows = [base64.b64decode(one["embedding"]) for one in content["data"]]
        return np.frombuffer(b"".join(rows), "<f4").reshape(len(rows), -1)

    def _answer(self) -> bytes:
        found = bytearray()
        while (end := found.find(b"\r\n\r\n")) < 0:
            found += self._received()
        head = bytes(found[:end]).lower()
        if not head.startswith(b"http/1.1 200 "):
            msg = f"the service answers {head.partition(b' ')[2][:60].decode()!r}"
            raise BenchmarkError(msg)
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        while len(found) < end + 4 + length:
            found += self._received()
        return bytes(found[end + 4 :])

    def _received(self) -> bytes:
        piece = self._socket.recv(1 << 20)
        if not piece:
            msg = "the service closed the connection"
            raise BenchmarkError(msg)
        return piece

    def close(self) -> None:
        """Close it."""
        self._socket.close()


def one_text_ms(encode: Encode, texts: list[str], calls: int) -> float:
    """Return the median of calls of one text, in milliseconds."""
    times_s = []
    for number in range(calls):
        start_s = time.perf_counter()
        encode([texts[number % len(texts)]])
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s)) * 1e3


def texts_per_s(encoders: list[Encode], texts: list[str], calls: int) -> float:
    """Return texts a second of callers that each call with one text at a time."""

    def caller(number: int) -> None:
        for call in range(calls):
            encoders[number]([texts[(number * calls + call) % len(texts)]])

    threads = [threading.Thread(target=caller, args=(n,)) for n in range(len(encoders))]
    start_s = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(encoders) * calls / (time.perf_counter() - start_s)


def large_call(encode: Encode, texts: list[str]) -> float:
    """Return texts a second of one call of `LARGE_CALL` texts: the best of three."""
    some = [texts[number % len(texts)] for number in range(LARGE_CALL)]
    times_s = []
    for _ in range(3):
        start_s = time.perf_counter()
        encode(some)
        times_s.append(time.perf_counter() - start_s)
    return LARGE_CALL / min(times_s)


def measure(make: Callable[[], Encode], texts: list[str], calls: int) -> Figures:
    """Return the figures of encoders; each belongs to one thread."""
    encode = make()
    one_text_ms(encode, texts, max(1, calls // 10))  # warms up
    return Figures(
        one_text_ms(encode, texts, calls),
        {
            count: texts_per_s([make() for _ in range(count)], texts, max(1, calls // count))
            for count in CALLERS
        },
        large_call(encode, texts),
    )


def in_process(artifact: Path, texts: list[str], calls: int) -> tuple[Figures, Any]:
    """Return the figures of a model in this process, which it leaves, and some vectors."""
    model = load(artifact, head=EmbeddingModel)
    is_normalized = model.similarity_fn_name == "cosine"
    expected = model.encode(texts[:8], normalize_embeddings=is_normalized)
    return measure(lambda: model.encode, texts, calls), expected


@contextmanager
def served(artifact: Path) -> Iterator[str]:
    """Yield the address of a service of an artifact, in a process of its own."""
    command = [sys.executable, "-m", "lanner", "serve", f"model={artifact}", "--port", "0"]
    command += ["--json", "--no-access-log"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                msg = "the service did not start: see its message"
                raise BenchmarkError(msg)
            yield json.loads(line)["url"]
        finally:
            process.terminate()


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calls", type=positive, default=1_000, help="calls of each figure")
    args = parser.parse_args(argv)
    require_output_file(args.output)
    texts = list(shipped_sentences())
    np.random.default_rng(SEED).shuffle(texts)
    near, expected = in_process(args.artifact, texts, args.calls)
    connections: list[Connection] = []
    with served(args.artifact) as url:

        def connected() -> Encode:
            connections.append(Connection(url))
            return connections[-1].encode

        if not np.allclose(connected()(texts[:8]), expected, atol=1e-4):
            msg = "the service answers other vectors than the artifact in process"
            raise BenchmarkError(msg)
        far = measure(connected, texts, args.calls)
        for connection in connections:
            connection.close()
    content = {
        "machine": asdict(this_machine()),
        "versions": package_versions(*_PACKAGES),
        "in_process": asdict(near),
        "service": asdict(far),
        "added_p50_ms": far.one_text_p50_ms - near.one_text_p50_ms,
        "callers_share_of_bulk": {
            count: rate / near.large_call_texts_per_s
            for count, rate in far.callers_texts_per_s.items()
        },
        "large_call_share": far.large_call_texts_per_s / near.large_call_texts_per_s,
    }
    with staged_file(args.output) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    print(json.dumps({name: content[name] for name in list(content)[2:]}, indent=2))


if __name__ == "__main__":
    main()
