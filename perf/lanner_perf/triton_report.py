"""A model on a Triton server beside itself in process and beside a repository written by hand.

    python -m lanner_perf.triton_report build/minilm.lanner --checkpoint PATH --output out.json

Servers, clients and this process share the machine. Everything runs in one go, in interleaved
rounds, and nothing is answered from a cache. Writes the figures as JSON and as Markdown.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import lanner
from lanner.artifact import Artifact
from lanner.commands.common import positive, steps, table
from lanner.errors import LannerError
from lanner.machine import available_cores, package_versions, this_machine
from lanner.staging import require_output_file, staged_file
from lanner.triton.repository import write_repository
from lanner.triton.server import TritonServer
from lanner_perf.callers import closed_loop
from lanner_perf.stock import make_stock
from lanner_perf.subjects import SubjectError
from lanner_perf.triton_plain import PlainClient, write_plain_repository
from lanner_perf.workloads import build_workloads

IN_PROCESS, PLAIN = "in process", "by hand, gRPC"
ROUTES = {
    "tokens, gRPC": ("grpc", "model"),
    "texts, gRPC": ("grpc", "model_text"),
    "tokens, HTTP": ("http", "model"),
    "texts, HTTP": ("http", "model_text"),
}
MAIN = "tokens, gRPC"
CALLERS = (1, 2, 4, 8, 16)
BULK_TEXTS = 10_000


@dataclass
class Figures:
    """What was measured of one way to the model; a list has a value a round.

    Attributes:
        calls_per_s: By the number of callers, texts a second.
        p50_ms: By the number of callers, of a call.
        p99_ms: The same.
        bulk_per_s: Texts a second of one large call.
        cpu_ms: By the number of callers, CPU milliseconds a text: of this process, with the client;
            of the server; and of the processes that run its models.
        mean_batch: By the number of callers, texts of a run, by the server's own statistics.
        server_ms: By the number of callers, milliseconds of a request in the server's queue, and in
            the model, by its statistics.
    """

    calls_per_s: dict[int, list[float]] = field(default_factory=dict)
    p50_ms: dict[int, list[float]] = field(default_factory=dict)
    p99_ms: dict[int, list[float]] = field(default_factory=dict)
    bulk_per_s: list[float] = field(default_factory=list)
    cpu_ms: dict[int, dict[str, list[float]]] = field(default_factory=dict)
    mean_batch: dict[int, list[float]] = field(default_factory=dict)
    server_ms: dict[int, dict[str, list[float]]] = field(default_factory=dict)


class Way(NamedTuple):
    """A way to the model.

    Attributes:
        encode: Answers a text, or a list of them where `takes_lists`.
        takes_lists: Whether it answers many in one call.
        server: Which server answers, if any.
        model: What it is called there.
    """

    encode: Callable[[Any], Any]
    takes_lists: bool = True
    server: TritonServer | None = None
    model: str = ""


class Check(NamedTuple):
    """What must hold."""

    what: str
    asked: str
    values: list[float]
    holds: bool


class _Totals(NamedTuple):
    """Sums since a model was loaded: requests, runs, and nanoseconds in its queue and model."""

    inferences: int
    executions: int
    queue_ns: int
    model_ns: int


def measure(
    ways: dict[str, Way],
    texts: Sequence[str],
    *,
    rounds: int,
    seconds: float,
    tell: Callable[[str], object],
) -> dict[str, Figures]:
    """Times every way in every round, first forwards and then backwards."""
    found = {name: Figures() for name in ways}
    rates: dict[tuple[str, int], float] = {}
    for number in range(rounds):
        tell(f"round {number + 1} of {rounds}")
        for name in list(ways)[:: -1 if number % 2 else 1]:
            way, figures = ways[name], found[name]
            for callers in CALLERS:
                rate = rates.get((name, callers), 0.0) or _rate(way, texts, callers)
                rates[name, callers] = rate
                _time_callers(way, figures, texts, callers, max(200, int(rate * seconds)))
            if way.takes_lists:
                bulk = [texts[i % len(texts)] for i in range(BULK_TEXTS)]
                way.encode(bulk[:500])
                start = time.perf_counter()
                way.encode(bulk)
                figures.bulk_per_s.append(len(bulk) / (time.perf_counter() - start))
    return found


def checks(found: dict[str, Figures]) -> list[Check]:
    """What issue and README say of it, by the rounds."""
    ours, plain, here = found[MAIN], found[PLAIN], found[IN_PROCESS]
    most = CALLERS[-1]
    return [
        _check(
            f"{most} callers: texts/s, of the repository by hand",
            "at least 2",
            _ratios(ours.calls_per_s[most], plain.calls_per_s[most]),
            lambda value: value >= 2,
        ),
        _check(
            f"{most} callers: mean batch",
            "at least 4",
            ours.mean_batch[most],
            lambda value: value >= 4,
        ),
        _check(
            f"{most} callers: p50 ms, of the repository by hand",
            "below 1",
            _ratios(ours.p50_ms[most], plain.p50_ms[most]),
            lambda value: value < 1,
        ),
        _check(
            "one caller: p50 ms beyond in process",
            "at most 1.5",
            [a - b for a, b in zip(ours.p50_ms[1], here.p50_ms[1], strict=True)],
            lambda value: value <= 1.5,
        ),
        _check(
            f"one call of {BULK_TEXTS:,} texts: texts/s, of in process",
            "at least 0.7",
            _ratios(ours.bulk_per_s, here.bulk_per_s),
            lambda value: value >= 0.7,
        ),
    ]


def _check(what: str, asked: str, values: list[float], holds: Callable[[float], bool]) -> Check:
    return Check(what, asked, values, holds(statistics.median(values)))


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [a / b for a, b in zip(ours, theirs, strict=True)]


def _rate(way: Way, texts: Sequence[str], callers: int) -> float:
    start = time.perf_counter()
    closed_loop(way.encode, texts[:200], callers)
    return 200 / (time.perf_counter() - start)


def _time_callers(
    way: Way, figures: Figures, texts: Sequence[str], callers: int, count: int
) -> None:
    asked = [texts[i % len(texts)] for i in range(count)]
    before, cpu = _totals(way), _cpu_seconds(way)
    result = closed_loop(way.encode, asked, callers)
    used, after = _cpu_seconds(way), _totals(way)
    if result.failure:
        raise SubjectError(result.failure)
    latencies_ms = np.array([call.end_s - call.due_s for call in result.calls]) * 1e3
    span_s = max(call.end_s for call in result.calls)
    figures.calls_per_s.setdefault(callers, []).append(count / span_s)
    figures.p50_ms.setdefault(callers, []).append(float(np.median(latencies_ms)))
    figures.p99_ms.setdefault(callers, []).append(float(np.quantile(latencies_ms, 0.99)))
    shares = figures.cpu_ms.setdefault(callers, {})
    for who, seconds in used.items():
        shares.setdefault(who, []).append((seconds - cpu.get(who, 0.0)) / count * 1e3)
    if before is not None and after is not None:
        done = after.inferences - before.inferences
        runs = after.executions - before.executions
        figures.mean_batch.setdefault(callers, []).append(done / max(1, runs))
        parts = figures.server_ms.setdefault(callers, {})
        for part, nanoseconds in (
            ("queue", after.queue_ns - before.queue_ns),
            ("model", after.model_ns - before.model_ns),
        ):
            parts.setdefault(part, []).append(nanoseconds / max(1, done) / 1e6)


def _totals(way: Way) -> _Totals | None:
    if way.server is None:
        return None
    import tritonclient.grpc  # noqa: PLC0415 (an extra)

    client = tritonclient.grpc.InferenceServerClient(_host(way.server))
    (stats,) = client.get_inference_statistics(way.model).model_stats
    client.close()
    inner = stats.inference_stats
    model_ns = inner.compute_input.ns + inner.compute_infer.ns + inner.compute_output.ns
    return _Totals(stats.inference_count, stats.execution_count, inner.queue.ns, model_ns)


def _cpu_seconds(way: Way) -> dict[str, float]:
    """CPU time so far of this process, of the server and of what it started."""
    own = os.times()
    used = {"client": own.user + own.system}
    if way.server is None:
        return used
    used |= {"server": _of_process(way.server.pid), "model": 0.0}
    for child in _children(way.server.pid):
        used["model"] += _of_process(child)
    return used


def _of_process(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> Iterator[int]:
    for task in Path(f"/proc/{pid}/task").iterdir():
        yield from map(int, (task / "children").read_text().split())


def _host(server: TritonServer) -> str:
    return server.grpc_url.removeprefix("grpc://")


def markdown(found: dict[str, Figures], held: list[Check], facts: dict[str, Any]) -> str:
    """The figures as people read them, medians of the rounds."""
    middle = statistics.median
    lines = ["# A Triton server beside the process", ""]
    lines += [f"- {key}: {value}" for key, value in facts.items()]
    lines += ["", "| what must hold | asked | measured (rounds) | |", "|---|---|---|---|"]
    lines += [
        f"| {c.what} | {c.asked} | {middle(c.values):.2f} ({min(c.values):.2f} to "
        f"{max(c.values):.2f}) | {'yes' if c.holds else '**no**'} |"
        for c in held
    ]
    lines += ["", "Texts a second, by callers with one text a call, and of one large call:", ""]
    header = ["", *(f"{n}" for n in CALLERS), f"{BULK_TEXTS:,} in a call"]
    lines += _rows(
        header,
        (
            [name, *(f"{middle(f.calls_per_s[n]):,.0f}" for n in CALLERS), _bulk(f)]
            for name, f in found.items()
        ),
    )
    lines += ["", "Milliseconds of a call, p50 / p99:", ""]
    lines += _rows(
        header[:-1],
        (
            [name, *(f"{middle(f.p50_ms[n]):.2f} / {middle(f.p99_ms[n]):.1f}" for n in CALLERS)]
            for name, f in found.items()
        ),
    )
    lines += ["", f"Where the time of {CALLERS[-1]} callers goes:", ""]
    names = ["client", "server", "model"]
    lines += _rows(
        ["", *(f"CPU ms a text, {n}" for n in names), "ms in queue", "ms in model", "mean batch"],
        ([name, *_shares(f)] for name, f in found.items()),
    )
    return "\n".join(lines) + "\n"


def _shares(figures: Figures) -> list[str]:
    most, middle = CALLERS[-1], statistics.median
    cpu, parts = figures.cpu_ms[most], figures.server_ms.get(most, {})
    found = [
        f"{middle(cpu[who]):.2f}" if who in cpu else "" for who in ("client", "server", "model")
    ]
    found += [f"{middle(parts[part]):.1f}" if parts else "" for part in ("queue", "model")]
    batches = figures.mean_batch.get(most)
    return [*found, f"{middle(batches):.1f}" if batches else ""]


def _bulk(figures: Figures) -> str:
    return f"{statistics.median(figures.bulk_per_s):,.0f}" if figures.bulk_per_s else ""


def _rows(header: Sequence[str], rows: Iterator[Sequence[str]] | Any) -> list[str]:
    return [
        f"| {' | '.join(header)} |",
        "|---" * len(header) + "|",
        *(f"| {' | '.join(row)} |" for row in rows),
    ]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("artifact", metavar="DIR", type=Path)
    parser.add_argument("--checkpoint", required=True, help="what the artifact was made of")
    parser.add_argument("--pairs", type=Path, help="a CSV of sentences; those shipped if left out")
    parser.add_argument("--rounds", type=positive, default=5)
    parser.add_argument("--seconds", type=float, default=2.0, help="about, of each measurement")
    parser.add_argument("--output", type=Path, required=True, help="a .json file")
    args = parser.parse_args(argv)
    try:
        require_output_file(args.output)
        with steps() as tell:
            _report(args, tell)
    except (LannerError, SubjectError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


def _report(args: argparse.Namespace, tell: Callable[[str], object]) -> None:
    texts = build_workloads(args.pairs).texts["short"]
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        tell("the repository by hand")
        make_stock(args.checkpoint, work / "stock.onnx")
        dimension = Artifact.open(args.artifact).manifest.dimension
        write_plain_repository(work / "stock.onnx", work / "plain", dimension)
        write_repository([args.artifact], work / "ours", names=["model"])
        tell("two servers")
        plain, ours = (stack.enter_context(_server(work / name)) for name in ("plain", "ours"))
        tokenizer = args.artifact / "tokenizer.json"
        ways = {
            IN_PROCESS: Way(lanner.load(args.artifact).encode),
            PLAIN: Way(PlainClient(_host(plain), tokenizer).encode, False, plain, "plain"),
        }
        for name, (protocol, model) in ROUTES.items():
            url = ours.grpc_url if protocol == "grpc" else ours.http_url
            ways[name] = Way(lanner.connect(url, model).encode, True, ours, model)
        found = measure(ways, texts, rounds=args.rounds, seconds=args.seconds, tell=tell)
    machine = this_machine()
    facts = {
        "machine": f"{machine.cpu}, {available_cores()} cores for servers and clients together",
        "texts": f"{len(texts):,} sentences of natural length",
        "rounds": args.rounds,
        "versions": ", ".join(
            f"{name} {version}"
            for name, version in package_versions(
                "onnxruntime", "tritonclient", "tokenizers", "numpy"
            ).items()
        ),
        "by hand": "the Python backend around ONNX Runtime with its defaults and stock int8, "
        "requests of equal length in a batch",
    }
    held = checks(found)
    content = {
        "facts": facts,
        "checks": [check._asdict() for check in held],
        "figures": {name: asdict(figures) for name, figures in found.items()},
    }
    with staged_file(args.output) as file:
        file.write(json.dumps(content, indent=1).encode())
    with staged_file(args.output.with_suffix(".md")) as file:
        file.write(markdown(found, held, facts).encode())
    print(table([("what must hold", "asked", "measured", ""), *_shown(held)]))


def _server(repository: Path) -> TritonServer:
    return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0, cache_bytes=0)


def _shown(held: list[Check]) -> list[tuple[object, ...]]:
    return [
        (c.what, c.asked, f"{statistics.median(c.values):.2f}", "yes" if c.holds else "NO")
        for c in held
    ]


if __name__ == "__main__":
    sys.exit(main())
