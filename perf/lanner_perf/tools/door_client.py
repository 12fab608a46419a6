"""A running `lanner serve`, and connections to it: no more than a socket on an event loop."""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from numpy.typing import NDArray

from lanner.errors import BenchmarkError
from lanner_perf.subjects.embeddings_api import vectors_of

#: The status in `Asked` of a request whose connection ended before its answer.
LOST = 0


@dataclass
class Served:
    """A service that runs.

    Attributes:
        port: Its port on this machine.
        pid: Its process.
        count: Its workers, if it has several.
    """

    port: int
    pid: int
    count: int = 1

    def workers(self) -> list[int]:
        """Return the processes of its workers."""
        listed = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        found = []
        for pid in listed:
            with suppress(OSError):  # it may have ended meanwhile
                if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(int(pid))
        return found

    def resident_mb(self) -> float:
        """Return its resident memory, in megabytes of a million bytes."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(status.partition("VmRSS:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def started(target: str, *options: str) -> Iterator[tuple[dict[str, object], int]]:
    """Yield what a service says when it is ready, and its process.

    Raises:
        BenchmarkError: It does not start.
    """
    command = [sys.executable, "-m", "lanner", "serve", target, "--port", "0", "--json", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            line = process.stdout.readline() if process.stdout else ""
            if not line:
                msg = "the service did not start: see its message"
                raise BenchmarkError(msg)
            yield json.loads(line), process.pid
        finally:
            process.terminate()


@contextmanager
def served(target: str, options: Sequence[str], *, count: int = 1) -> Iterator[Served]:
    """Yield a service that is ready.

    Raises:
        BenchmarkError: It does not start.
    """
    with started(target, *options) as (said, pid):
        yield Served(urlsplit(str(said["url"])).port or 0, pid, count)


@dataclass
class Asked:
    """The answers to many requests.

    Attributes:
        statuses: How many have each status.
        seconds: How long those of each status took.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))

    async def note(self, answer: "Awaitable[tuple[int, bytes]]") -> tuple[int, bytes]:
        """Wait for an answer, note it, and return its status and its body."""
        begin_s = time.monotonic()
        try:
            status, body = await answer
        except (OSError, EOFError):
            status, body = LOST, b""
        self.statuses[status] += 1
        self.seconds[status].append(time.monotonic() - begin_s)
        return status, body

    @property
    def count(self) -> int:
        """The number of requests that have ended."""
        return self.statuses.total()

    @property
    def lost(self) -> int:
        """The number of those that have no answer."""
        return self.statuses[LOST]

    @property
    def slowest_s(self) -> float:
        """The longest time of all."""
        return max(map(max, self.seconds.values()))


class Connection:
    """A kept connection that asks `/v1/embeddings` for base64; it opens again where it ended.

    Args:
        url: The service.
    """

    def __init__(self, url: Served) -> None:
        self._port = url.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def embed(self, texts: list[str]) -> tuple[int, bytes]:
        """Return the status and the body of the answer to texts.

        Raises:
            OSError, EOFError: The connection ends before the answer.
        """
        body = json.dumps({"input": texts, "encoding_format": "base64"}).encode()
        head = f"POST /v1/embeddings HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        try:
            if self._streams is not None and self._streams[0].at_eof():
                self.close()  # the service has closed it: it was idle for long
            if self._streams is None:
                self._streams = await asyncio.open_connection("127.0.0.1", self._port)
            reader, writer = self._streams
            writer.write(head.encode() + body)
            found = await reader.readuntil(b"\r\n\r\n")
            length = int(found.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            answer = int(found.split(b" ", 2)[1]), await reader.readexactly(length)
        except BaseException:  # an answer that nobody took must not be the next one
            self.close()
            raise
        if b"\r\nconnection: close\r\n" in found:
            self.close()
        return answer

    def close(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


async def ask_until_answered(
    connection: Connection, texts: list[str], patience_s: float
) -> tuple[NDArray[Any] | None, int]:
    """Return the vectors of texts, float32 [n, dimension], and the number of tries.

    As a client does that tries again where it is told to, or where its connection ends. None stands
    for no answer in that many seconds, or a refusal that no other try changes.
    """
    end_s, tries = time.monotonic() + patience_s, 0
    while time.monotonic() < end_s:
        tries += 1
        with suppress(OSError, EOFError, TimeoutError):
            async with asyncio.timeout(patience_s):
                status, body = await connection.embed(texts)
            if status == 200:
                return vectors_of(body), tries
            if status not in (429, 500, 502, 503, 504):
                return None, tries
        await asyncio.sleep(0.05)
    return None, tries
