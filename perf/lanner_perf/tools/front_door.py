"""Time that the service adds: the same model in process and through `lanner serve`, over loopback.

    python -m lanner_perf.tools.front_door build/minilm.lanner --output build/front_door.json

Both are measured in turns, round by round, on the same cores, which the client and the service
share: the p50 of one text, texts a second of many callers of one text each, and of one call of
1,000 texts. The client (`lanner_perf.subjects.embeddings_api`) takes next to no time, so that the
figures are of the service and not of somebody's client; its CPU time is in the result beside that
of the service. `--triton` measures the service before a Triton server, too, beside Lanner's client
of that server. `LANNER_NATIVE_INSTRUCTIONS=avx2` in the environment holds all of them to AVX2.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

import lanner
from lanner.commands.options import positive
from lanner.errors import BenchmarkError
from lanner.files.staging import require_output_file, staged_file
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load
from lanner.machine.machine import package_versions, this_machine
from lanner.models.embedding import EmbeddingModel
from lanner_perf.subjects.embeddings_api import Endpoint, ask, ask_at_once, vectors_of
from lanner_perf.subjects.workloads import SEED
from lanner_perf.tools.door_client import started

CALLERS = (16, 64)
LARGE_CALL = 1_000
#: The name of the model for clients.
_MODEL = "model"
#: The packages whose versions stand in a result.
PACKAGES = ("lanner", "uvicorn", "uvloop", "httptools", "msgspec", "orjson", "onnxruntime")

#: Encodes texts; what it returns is not read.
Encode = Callable[[list[str]], object]


@dataclass(frozen=True)
class Figures:
    """The figures of a model, in process or through the service: of a round, or medians of all.

    Attributes:
        one_text_p50_ms: The median time of a call of one text.
        callers_texts_per_s: By the number of callers of one text each, texts a second.
        large_call_texts_per_s: Texts a second of one call of `LARGE_CALL` texts.
        callers_cpu_ms: By the number of callers, CPU time of the service a text; in process that of
            everything.
        client_cpu_ms: The same of the client, empty in process.
    """

    one_text_p50_ms: float
    callers_texts_per_s: dict[int, float]
    large_call_texts_per_s: float
    callers_cpu_ms: dict[int, float]
    client_cpu_ms: dict[int, float]


class Asked(NamedTuple):
    """The figures of a turn of callers of one text each.

    Attributes:
        cpu_ms: CPU time of the service a text.
        client_cpu_ms: CPU time of the client a text.
        texts_per_s: Texts a second.
    """

    cpu_ms: float
    client_cpu_ms: float
    texts_per_s: float


@dataclass(frozen=True)
class Service:
    """A running service.

    Attributes:
        endpoint: The endpoint of its model.
        pid: The process.
        grpc_url: The address of the Triton server behind it; empty for none.
    """

    endpoint: Endpoint
    pid: int
    grpc_url: str = ""

    def cpu_s(self) -> float:
        """Return the CPU time of its threads so far."""
        tasks = Path(f"/proc/{self.pid}/task").iterdir()
        return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e9


def p50_ms(encode: Encode, texts: list[str], calls: int) -> float:
    """Return the median of calls of one text, in milliseconds."""
    times_s = []
    for number in range(calls):
        one = [texts[number % len(texts)]]
        start_s = time.perf_counter()
        encode(one)
        times_s.append(time.perf_counter() - start_s)
    return float(np.median(times_s)) * 1e3


def in_process(encode: Encode, texts: list[str], calls: int) -> Figures:
    """Return the figures of a round of a model in this process."""
    one = p50_ms(encode, texts, calls)
    rates, cpu = {}, {}
    for count in CALLERS:
        each = max(1, calls // count)

        def caller(number: int, each: int = each) -> None:
            for call in range(each):
                encode([texts[(number * each + call) % len(texts)]])

        threads = [threading.Thread(target=caller, args=(n,)) for n in range(count)]
        start_s, before_s = time.perf_counter(), time.process_time()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rates[count] = count * each / (time.perf_counter() - start_s)
        cpu[count] = 1e3 * (time.process_time() - before_s) / (count * each)
    some = large(texts)
    start_s = time.perf_counter()
    encode(some)
    return Figures(one, rates, LARGE_CALL / (time.perf_counter() - start_s), cpu, {})


def through(service: Service, texts: list[str], calls: int) -> Figures:
    """Return the figures of a round of a service."""
    endpoint = service.endpoint
    requests = [endpoint.request([text]) for text in texts]
    with endpoint.connect() as connection:
        one = p50_ms(asking(connection, requests), texts, calls)
        request = endpoint.request(large(texts))
        start_s = time.perf_counter()
        ask(connection, request)
        large_s = time.perf_counter() - start_s
    asked = {count: asked_by(service, requests, calls, count) for count in CALLERS}
    return Figures(
        one,
        {count: found.texts_per_s for count, found in asked.items()},
        LARGE_CALL / large_s,
        {count: found.cpu_ms for count, found in asked.items()},
        {count: found.client_cpu_ms for count, found in asked.items()},
    )


def asked_by(service: Service, requests: list[bytes], calls: int, callers: int) -> Asked:
    """Return the figures of a turn of callers, each of which sends one request after the other."""
    some = [requests[number % len(requests)] for number in range(max(callers, calls))]
    before_s, own_s = service.cpu_s(), time.process_time()
    times = ask_at_once(service.endpoint, some, callers)
    client_cpu_ms = 1e3 * (time.process_time() - own_s) / len(some)
    cpu_ms = 1e3 * (service.cpu_s() - before_s) / len(some)
    return Asked(cpu_ms, client_cpu_ms, len(some) / max(end_s for _, end_s in times))


def asking(connection: socket.socket, requests: list[bytes]) -> Encode:
    """Return a function that sends the next of the requests, whatever the texts."""
    following = cycle(requests)
    return lambda _: ask(connection, next(following))


def large(texts: list[str]) -> list[str]:
    """Return the texts of the large call."""
    return [texts[number % len(texts)] for number in range(LARGE_CALL)]


def median(rounds: list[Figures]) -> Figures:
    """Return the medians of rounds."""

    def by_callers(name: str) -> dict[int, float]:
        values = [getattr(one, name) for one in rounds]
        return {count: float(np.median([one[count] for one in values])) for count in values[0]}

    return Figures(
        float(np.median([one.one_text_p50_ms for one in rounds])),
        by_callers("callers_texts_per_s"),
        float(np.median([one.large_call_texts_per_s for one in rounds])),
        by_callers("callers_cpu_ms"),
        by_callers("client_cpu_ms"),
    )


@contextmanager
def served(target: str, name: str, *options: str) -> Iterator[Service]:
    """Yield a service, in a process of its own."""
    with started(target, "--no-access-log", *options) as (said, pid):
        yield Service(Endpoint(f"{said['url']}/v1", name), pid, str(said.get("grpc_url", "")))


def before_triton(artifact: Path, texts: list[str], calls: int, rounds: int) -> dict[str, float]:
    """Return the p50 of one text through Lanner's client of a Triton server, and the service."""
    with TemporaryDirectory(prefix="lanner-") as directory:
        repository = f"{directory}/repository"
        command = [sys.executable, "-m", "lanner", "repository", str(artifact), "--name", _MODEL]
        subprocess.run([*command, "--output", repository], check=True, stdout=sys.stderr)
        ports = [f"--triton-{one}-port=0" for one in ("http", "grpc", "metrics")]
        with served(repository, _MODEL, *ports) as service:
            model = lanner.connect(service.grpc_url, _MODEL)
            encode: Encode = model.encode
            requests = [service.endpoint.request([text]) for text in texts]
            found: dict[str, list[float]] = {"client": [], "service": []}
            with service.endpoint.connect() as connection:
                asked = asking(connection, requests)
                for turn in range(rounds + 1):
                    pair = {
                        "client": p50_ms(encode, texts, calls),
                        "service": p50_ms(asked, texts, calls),
                    }
                    for name in found if turn else ():  # the first warms up
                        found[name].append(pair[name])
            model.close()
    client, service_ms = (float(np.median(found[name])) for name in ("client", "service"))
    return {"client_p50_ms": client, "service_p50_ms": service_ms, "added_ms": service_ms - client}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calls", type=positive, default=1_000, help="calls of a figure's round")
    parser.add_argument("--rounds", type=positive, default=7)
    parser.add_argument("--engine", default="auto", help="of both, such as native or onnxruntime")
    parser.add_argument("--variant", default="auto", help="of both, such as int8 or fp32")
    parser.add_argument("--triton", action="store_true", help="before a Triton server, too")
    args = parser.parse_args(argv)
    require_output_file(args.output)
    texts = list(shipped_sentences())
    np.random.default_rng(SEED).shuffle(texts)
    model = load(args.artifact, head=EmbeddingModel, engine=args.engine, variant=args.variant)
    is_normalized = model.similarity_fn_name == "cosine"
    expected = model.encode(texts[:8], normalize_embeddings=is_normalized)
    # First: where there is no Triton server, nothing has been measured in vain.
    triton = before_triton(args.artifact, texts, args.calls, args.rounds) if args.triton else None
    near, far = list[Figures](), list[Figures]()
    options = ("--engine", args.engine, "--variant", args.variant)
    with served(f"{_MODEL}={args.artifact}", _MODEL, *options) as service:
        with service.endpoint.connect() as connection:
            found = vectors_of(ask(connection, service.endpoint.request(texts[:8])))
        if not np.allclose(found, expected, atol=1e-4):
            msg = "the service answers other vectors than the artifact in process"
            raise BenchmarkError(msg)
        for turn in range(args.rounds + 1):
            pair = (
                in_process(model.encode, texts, args.calls),
                through(service, texts, args.calls),
            )
            if turn:  # the first warms up
                near.append(pair[0])
                far.append(pair[1])
    here, there = median(near), median(far)
    bulk = here.large_call_texts_per_s
    content: dict[str, Any] = {
        "machine": asdict(this_machine()),
        "load_average": os.getloadavg(),
        "model": repr(model),
        # Of the native engine; the service has the same environment.
        "instruction_set": getattr(model.runner.engine, "instruction_set", None),
        "versions": package_versions(*PACKAGES),
        "in_process": asdict(here),
        "service": asdict(there),
        "added_p50_ms": there.one_text_p50_ms - here.one_text_p50_ms,
        "callers_share_of_bulk": {n: rate / bulk for n, rate in there.callers_texts_per_s.items()},
        "large_call_share": there.large_call_texts_per_s / bulk,
        "rounds": {"in_process": [*map(asdict, near)], "service": [*map(asdict, far)]},
    }
    if triton is not None:
        content["before_triton"] = triton
    with staged_file(args.output) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    shown = {name: value for name, value in content.items() if name not in _NOT_SHOWN}
    print(json.dumps(shown, indent=2))


#: What is in the file alone.
_NOT_SHOWN = ("machine", "versions", "rounds")

if __name__ == "__main__":
    main()
