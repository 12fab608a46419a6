"""The clients of a replay, with a server whose answers are written by hand."""

import asyncio
import time

from lanner_perf.elastic.replay.clients import Answers, Clients


def test_a_connection_that_was_closed_while_idle_is_not_used_again() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length[15:]))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        await writer.drain()
        writer.close()  # as a proxy does with a connection that was idle for too long

    async def asked() -> Answers:
        async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            return await Clients(port).run([0.0, 0.5], ["a", "b"], time.monotonic())

    found = asyncio.run(asked())
    assert [at_s for at_s, _ in found.answered] == [0.0, 0.5]
    assert not found.lost
