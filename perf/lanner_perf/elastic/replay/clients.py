"""Clients of a replay: they send requests when these are due, whatever is answered by then."""

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

#: Seconds after which a client gives up.
_PATIENCE_S = 30.0


@dataclass
class Answers:
    """The answers that clients got.

    Attributes:
        answered: The due time of each answered request and its latency in milliseconds.
        refused_s: The due times of requests that were refused (429).
        lost: Reasons of requests that got no answer or another one.
    """

    answered: list[tuple[float, float]] = field(default_factory=list)
    refused_s: list[float] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


class Clients:
    """Sends requests over connections that are kept.

    Args:
        port: The port of the proxy.
        path: The path.
    """

    def __init__(self, port: int, path: str = "/v1/embeddings") -> None:
        self._port, self._path = port, path
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

    async def run(
        self, arrivals_s: Sequence[float], texts: Sequence[str], begin_s: float
    ) -> Answers:
        """Send a text at each time, and return what came back.

        Args:
            arrivals_s: Ascending times after `begin_s`.
            texts: The texts, one for each.
            begin_s: The start by `time.monotonic`.
        """
        found = Answers()
        tasks = set()
        for at_s, text in zip(arrivals_s, texts, strict=True):
            wait_s = begin_s + at_s - time.monotonic()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            task = asyncio.create_task(self._ask(at_s, text, begin_s, found))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.gather(*tasks)
        for _, writer in self._idle:
            writer.close()
        return found

    async def _ask(self, at_s: float, text: str, begin_s: float, found: Answers) -> None:
        try:
            async with asyncio.timeout(_PATIENCE_S):
                status = await self._exchange(text)
        except (OSError, EOFError, TimeoutError, ValueError) as error:
            found.lost.append(type(error).__name__)
            return
        if status == 200:
            found.answered.append((at_s, (time.monotonic() - begin_s - at_s) * 1e3))
        elif status == 429:
            found.refused_s.append(at_s)
        else:
            found.lost.append(str(status))

    async def _connection(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Return an idle connection that the proxy has not closed meanwhile, or a new one."""
        while self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)

    async def _exchange(self, text: str) -> int:
        reader, writer = await self._connection()
        body = json.dumps({"input": text}).encode()
        writer.write(
            b"POST %b HTTP/1.1\r\nhost: pods\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (self._path.encode(), len(body), body)
        )
        head = await reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
        await reader.readexactly(length)
        if b"connection: close" in lines:
            writer.close()
        else:
            self._idle.append((reader, writer))
        return int(head.split(b" ", 2)[1])
