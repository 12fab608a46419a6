"""Lanner's service beside infinity's server with the same weights in int8: one run, one report.

    python -m lanner_perf.tools.beside_infinity build/minilm.lanner --checkpoint CHECKPOINT \
        --output build/services.html

infinity's environment and its int8 model are those that `lanner bench --against
infinity-onnx-qint8` makes, once. Both servers may use all cores, and get the same requests.
`LANNER_NATIVE_INSTRUCTIONS=avx2` in the environment holds Lanner to AVX2, and not infinity's ONNX
Runtime.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.engines.native import INSTRUCTIONS_VARIABLE
from lanner.errors import BenchmarkError
from lanner.machine.machine import available_cores
from lanner_perf.loading.plain import Embedding
from lanner_perf.peers.peers import ENVIRONMENTS, WORK, all_peers
from lanner_perf.report.extent import Extent
from lanner_perf.report.results import require_page, write_report
from lanner_perf.server.service_bench import ServiceRequest, bench_services
from lanner_perf.subjects.embeddings_api import Endpoint
from lanner_perf.subjects.subject import Spec, last_line, subject_environment
from lanner_perf.tools.front_door import served

_PEER = "infinity-onnx-qint8"
_SUITES = ("latency", "throughput", "quality", "concurrency")
_CALLERS = "16"
_PATIENCE_S = 300.0
#: Its script has the path of the environment's first place in it.
_PROGRAM = "import sys; from infinity_emb.cli import cli; sys.argv[0] = 'infinity_emb'; cli()"


@contextmanager
def infinity(spec: Spec, threads: int) -> Iterator[str]:
    """Yield the address of infinity's server of a model, in a process of its own.

    Args:
        spec: The peer whose model it serves, and its interpreter.
        threads: The cores that it may use.

    Raises:
        BenchmarkError: It does not start.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    command = [spec.python, "-c", _PROGRAM, "v2", "--model-id", ".", "--served-model-name", "model"]
    command += ["--engine", "optimum", "--device", "cpu", "--onnx-disable-optimize"]
    command += [
        "--no-bettertransformer",
        "--pooling-method",
        Embedding.read(Path(spec.path)).pooling,
    ]
    command += ["--host", "127.0.0.1", "--port", str(port), "--url-prefix", "/v1"]
    quiet = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1", "INFINITY_ANONYMOUS_USAGE_STATS": "0"}
    environment = {**subject_environment(threads), **quiet, "OMP_NUM_THREADS": str(threads)}
    endpoint = Endpoint(f"http://127.0.0.1:{port}/v1", "model")
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(
            command, cwd=spec.path, env=environment, stdout=log, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            end_s = time.monotonic() + _PATIENCE_S
            while not _answers(endpoint):
                if process.poll() is not None or time.monotonic() > end_s:
                    log.seek(0)
                    said = last_line(log.read().decode(errors="replace"))
                    msg = f"infinity's server did not start: {said}"
                    raise BenchmarkError(msg)
                time.sleep(0.2)
            yield endpoint.url
        finally:
            process.terminate()


def _answers(endpoint: Endpoint) -> bool:
    try:
        return bool(endpoint.models())
    except (OSError, RuntimeError):
        return False


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--checkpoint", required=True)
    parser.add_argument("--output", type=Path, required=True, help="an .html page")
    parser.add_argument("--environments", type=Path, default=ENVIRONMENTS)
    parser.add_argument("--models", type=Path, default=WORK, help="the models of the peers")
    parser.add_argument("--rounds", type=positive)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args(argv)
    require_page(args.output)
    threads = available_cores()
    held = os.environ.get(INSTRUCTIONS_VARIABLE)
    extent = Extent(
        suites=_SUITES,
        pairs=None,
        threads=threads,
        rounds=args.rounds,
        is_quick=args.quick,
        command=(
            *([f"{INSTRUCTIONS_VARIABLE}={held}"] if held else []),
            *("python", "-m", "lanner_perf.tools.beside_infinity", *(argv or sys.argv[1:])),
        ),
    )
    with steps() as begin:
        made = all_peers(
            args.checkpoint, args.environments, args.models, names=[_PEER], progress=begin
        )
        peer = next((spec for spec in made.specs if spec.kind == "infinity"), None)
        if peer is None:
            msg = f"there is no model for infinity: {made.left_out}"
            raise BenchmarkError(msg)
        with (
            served(f"model={args.artifact}", "model") as service,
            infinity(peer, threads) as url,
        ):
            urls = (service.endpoint.url, url)
            report = bench_services(ServiceRequest(urls, args.artifact, extent), begin)
    files = write_report(report, args.output)
    ours, theirs = report["subjects"][1:3]
    points = [row["concurrency"][_CALLERS] for row in (ours, theirs)]
    content = {
        "load_average": os.getloadavg(),
        "callers_16_texts_per_s_ratio": points[0]["texts_per_s"] / points[1]["texts_per_s"],
        "callers_16_p50_ratio": points[0]["p50_ms"] / points[1]["p50_ms"],
        "one_text_p50_ratio": ours["latency_ms"]["p50"] / theirs["latency_ms"]["p50"],
        "files": [str(file) for file in files],
    }
    print(json.dumps(content, indent=2))


if __name__ == "__main__":
    main()
