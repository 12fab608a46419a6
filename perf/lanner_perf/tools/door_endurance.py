"""The service over a long time: at twice its capacity, over many requests, and among kills.

    python -m lanner_perf.tools.door_endurance overload build/minilm.lanner --output build/o.json
    python -m lanner_perf.tools.door_endurance requests build/minilm.lanner --output build/r.json
    python -m lanner_perf.tools.door_endurance kills build/minilm.lanner --output build/k.json
    python -m lanner_perf.tools.door_endurance kills build/minilm.lanner --triton --output k.json

`overload` sends requests at twice the rate that the service answers them; each must be answered or
refused with 429 within its deadline, and the answered ones as fast as the queue allows. `requests`
watches the memory over a number of requests, no two of which have the same text, and compares every
answer with the vector in process. `kills` ends workers, or the Triton server behind the
service, with SIGKILL while clients ask and ask again: each must get its answer, and the right one.
Writes what was seen as JSON. Exit status 1 if something does not hold.
"""

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import count
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
from lanner.triton.repository.write import write_repository
from lanner.triton.server.server import TritonServer
from lanner_perf.subjects.embeddings_api import vectors_of
from lanner_perf.subjects.workloads import SEED
from lanner_perf.tools.door_client import Asked, Connection, Served, ask_until_answered, served

MOST_GROWTH = 1.2
#: Texts of a request at twice the capacity: the client must cost less than the service.
_OVERLOAD_TEXTS = 64
_CALLERS, _KEPT = 16, 256
#: Seconds beyond its deadline in which a request must be refused: those of a busy machine.
_SLACK_S = 2.0


async def overload(url: Served, texts: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Return what comes of requests at twice the rate that the service answers."""
    some = [texts[number % len(texts)] for number in range(_OVERLOAD_TEXTS)]
    end_s = time.monotonic() + max(2.0, args.seconds / 20)
    asked = Asked()

    async def ask(connection: Connection) -> None:
        while time.monotonic() < end_s:
            await asked.note(connection.embed(some))

    begin_s = time.monotonic()
    await _by_callers(url, ask, _CALLERS)
    rate = asked.statuses[200] / (time.monotonic() - begin_s)
    if not rate:
        msg = "the service answers nothing within its deadline: give it more with --deadline-s"
        raise BenchmarkError(msg)
    asked = Asked()
    idle = [Connection(url) for _ in range(_KEPT)]
    for connection in idle:  # clients keep their connections
        await connection.embed(some[:1])
    running: set[asyncio.Task[None]] = set()
    memory_mb: list[float] = []

    async def one() -> None:
        connection = idle.pop() if idle else Connection(url)
        await asked.note(connection.embed(some))
        idle.append(connection)

    gaps_s = np.random.default_rng(SEED).exponential(1 / (2 * rate), int(4 * rate * args.seconds))
    begin_s = time.monotonic()
    for due_s in np.cumsum(gaps_s):
        if max(float(due_s), time.monotonic() - begin_s) > args.seconds:
            break
        await asyncio.sleep(max(0.0, begin_s + float(due_s) - time.monotonic()))
        running.add(task := asyncio.create_task(one()))
        task.add_done_callback(running.discard)
        if time.monotonic() - begin_s > len(memory_mb) * args.seconds / 100:
            memory_mb.append(url.resident_mb())
    sent_s = time.monotonic() - begin_s
    await asyncio.gather(*running)
    for connection in idle:
        connection.close()
    answered_s = asked.seconds[200]
    # The first fifth fills the queue and the caches.
    growth = max(memory_mb) / memory_mb[len(memory_mb) // 5]
    limit_s = args.deadline_s + _SLACK_S
    return {
        "capacity_requests_per_s": rate,
        "sent": asked.count,
        "sent_per_s": asked.count / sent_s,
        "statuses": dict(asked.statuses),
        "answered_p50_s": float(np.quantile(answered_s, 0.5)),
        "answered_p99_s": float(np.quantile(answered_s, 0.99)),
        "slowest_s": asked.slowest_s,
        "memory_growth": growth,
        "holds": {
            "answered or refused": set(asked.statuses) <= {200, 429} and not asked.lost,
            "some refused": asked.statuses[429] > 0,
            "within the deadline": asked.slowest_s < limit_s,
            "memory is flat": growth < MOST_GROWTH,
        },
    }


async def requests(url: Served, texts: list[str], args: argparse.Namespace) -> dict[str, Any]:
    """Return the memory over many requests of one text each, and how many answers are wrong."""
    done, memory_mb = Asked(), list[tuple[int, float]]()
    numbers, wrong = count(), 0

    async def ask(connection: Connection) -> None:
        nonlocal wrong
        while (number := next(numbers)) < args.requests:
            row = number % len(texts)
            one = [distinct(texts[row], number)]
            while (answer := await done.note(connection.embed(one)))[0] == 429:
                await asyncio.sleep(0.05)  # as after a pause of the whole machine
            if answer[0] == 200:
                wrong += not np.allclose(vectors_of(answer[1])[0], args.expected[row], atol=1e-4)
            if done.statuses[200] >= len(memory_mb) * args.requests / 100:
                memory_mb.append((done.statuses[200], url.resident_mb()))
                print(*memory_mb[-1], "MB", wrong, "wrong", file=sys.stderr, flush=True)

    begin_s = time.monotonic()
    await _by_callers(url, ask, _CALLERS)
    later = [one for count, one in memory_mb if count >= args.requests / 100]
    growth = max(later) / later[0]
    return {
        "requests": done.statuses[200],
        "requests_per_s": done.statuses[200] / (time.monotonic() - begin_s),
        "statuses": dict(done.statuses),
        "wrong": wrong,
        "memory_mb": memory_mb,
        "memory_growth": growth,
        "holds": {
            "all answered": done.statuses[200] == args.requests
            and set(done.statuses) <= {200, 429},
            "none is wrong": wrong == 0,
            "memory is flat": growth < MOST_GROWTH,
        },
    }


def distinct(text: str, number: int) -> str:
    """Return another text for each number, with the same tokens: blanks of two kinds at its end."""
    return text + f"{number:b}".replace("0", " ").replace("1", "\t")


async def kills(
    url: Served, texts: list[str], args: argparse.Namespace, kill: Callable[[], Awaitable[None]]
) -> dict[str, Any]:
    """Return what clients that ask again get while something is killed and comes back."""
    expected = args.expected
    found: Counter[str] = Counter()
    is_over = False

    async def ask(connection: Connection) -> None:
        number = id(connection)
        while not is_over:
            number += 1
            row = number % len(texts)
            vectors, tries = await ask_until_answered(connection, [texts[row]], args.patience_s)
            found["tries"] += tries
            if vectors is None:
                found["lost"] += 1
            else:
                is_right = np.allclose(vectors[0], expected[row], atol=1e-4)
                found["right" if is_right else "wrong"] += 1

    callers = asyncio.create_task(_by_callers(url, ask, 8))
    back_s = list[float]()
    for _ in range(args.kills):
        begin_s = time.monotonic()
        await kill()
        before, deadline_s = found["right"], time.monotonic() + args.patience_s
        while found["right"] < before + 8 and time.monotonic() < deadline_s:
            await asyncio.sleep(0.02)
        back_s.append(time.monotonic() - begin_s)
        print(len(back_s), f"{back_s[-1]:.2f} s", dict(found), file=sys.stderr, flush=True)
    is_over = True
    await callers
    return {
        "kills": len(back_s),
        "back_p50_s": float(np.median(back_s)),
        "back_slowest_s": max(back_s),
        **{name: found[name] for name in ("right", "wrong", "lost", "tries")},
        "holds": {
            "no answer is lost": found["lost"] == 0,
            "none is wrong": found["wrong"] == 0 and found["right"] > args.kills,
        },
    }


async def _by_callers(
    url: Served, ask: Callable[[Connection], Awaitable[None]], callers: int
) -> None:
    connections = [Connection(url) for _ in range(callers)]
    await asyncio.gather(*map(ask, connections))
    for connection in connections:
        connection.close()


def killing_workers(url: Served) -> Callable[[], Awaitable[None]]:
    """Return what kills one worker after the other, each when all are there again."""
    random = np.random.default_rng(SEED)

    async def kill() -> None:
        is_killed = False
        while not is_killed:
            while len(workers := url.workers()) < url.count:
                await asyncio.sleep(0.02)
            with suppress(ProcessLookupError):  # one that was killed before
                os.kill(int(random.choice(workers)), signal.SIGKILL)
                is_killed = True

    return kill


@contextmanager
def triton(
    artifact: Path, ready_timeout_s: float
) -> Iterator[tuple[str, Callable[[], Awaitable[None]]]]:
    """Yield the address of a model on a Triton server, and what kills it and starts it again."""
    with tempfile.TemporaryDirectory(prefix="lanner-") as work:
        repository = Path(work) / "repository"
        write_repository([artifact], repository, names=["model"], with_text=False)

        def started(http: int, grpc: int, metrics: int) -> TritonServer:
            server = TritonServer(
                repository,
                http_port=http,
                grpc_port=grpc,
                metrics_port=metrics,
                grace_s=0,
                ready_timeout_s=ready_timeout_s,
            )
            server.start()
            return server

        servers = [started(0, 0, 0)]
        urls = (servers[0].http_url, servers[0].grpc_url, servers[0].metrics_url)
        http, grpc, metrics = (urlsplit(url).port or 0 for url in urls)

        async def kill() -> None:
            server = servers.pop()
            os.kill(server.pid, signal.SIGKILL)
            server.stop()
            servers.append(await asyncio.to_thread(started, http, grpc, metrics))

        try:
            yield f"model={urls[1]}/model", kill
        finally:
            for server in servers:
                server.stop()


def _run(args: argparse.Namespace) -> dict[str, Any]:
    texts = list(shipped_sentences())[:64]
    options = ["--no-access-log"]
    if args.what == "overload":
        options += ["--request-timeout-s", str(args.deadline_s), "--max-connections", "10000"]
        options += ["--max-queue-tokens", str(args.queue_tokens)]
        with served(str(args.artifact), options) as url:
            return asyncio.run(overload(url, texts, args))
    with load(args.artifact, head=EmbeddingModel) as model:
        # As the service does: of length 1 where directions are compared.
        is_unit = model.manifest.similarity == "cosine"
        args.expected = model.encode(texts, normalize_embeddings=is_unit)
    if args.what == "requests":
        with served(str(args.artifact), options) as url:
            return asyncio.run(requests(url, texts, args))
    if args.triton:
        with (
            triton(args.artifact, args.patience_s) as (target, kill),
            served(target, options) as url,
        ):
            return asyncio.run(kills(url, texts, args, kill))
    with served(str(args.artifact), [*options, "--workers", "2"], count=2) as url:
        return asyncio.run(kills(url, texts, args, killing_workers(url)))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("what", choices=["overload", "requests", "kills"])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--seconds", type=positive, default=300, help="of overload")
    parser.add_argument("--deadline-s", type=positive, default=5, help="of a request")
    parser.add_argument("--queue-tokens", type=positive, default=20_000, help="in overload")
    parser.add_argument("--requests", type=positive, default=1_000_000)
    parser.add_argument("--kills", type=positive, default=200)
    parser.add_argument("--triton", action="store_true", help="kill a Triton server, not workers")
    parser.add_argument("--patience-s", type=positive, default=60, help="of clients among kills")
    args = parser.parse_args(argv)
    require_output_file(args.output)
    try:
        found = _run(args)
    except BenchmarkError as error:
        sys.stderr.write(f"lanner_perf.tools.door_endurance: error: {error}\n")
        return 1
    versions = package_versions("lanner", "uvicorn", "uvloop", "httptools", "onnxruntime")
    content = {"machine": this_machine().to_json(), "versions": versions, "what": args.what}
    with staged_file(args.output) as file:
        file.write(json.dumps({**content, **found}, indent=1).encode() + b"\n")
    found.pop("memory_mb", None)
    print(json.dumps(found, indent=1))
    return 0 if all(found["holds"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
