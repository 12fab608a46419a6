"""A model on a Triton server, beside itself in process and beside a hand-written repository.

    python -m lanner_perf.server.triton_report DIR --checkpoint PATH --output triton.html

It starts two servers: one for the model, and one for a repository as a team writes it by hand. Then
it runs `lanner bench` with the URLs of the first. Servers and clients share the machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from lanner.artifact.artifact import Artifact
from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.errors import LannerError
from lanner.machine.machine import available_cores
from lanner.triton.repository.serving import Serving
from lanner.triton.repository.write import write_repository
from lanner.triton.server.server import TritonServer
from lanner_perf.peers.stock import make_stock
from lanner_perf.record.schema import SUITES
from lanner_perf.report.content import report_page
from lanner_perf.report.extent import Extent
from lanner_perf.report.results import require_page, write_report
from lanner_perf.report.terminal import terminal_text
from lanner_perf.server.plain_repository import write_plain_repository
from lanner_perf.server.server_bench import ServerRequest, bench_server
from lanner_perf.subjects.subject import Spec, SubjectError

PLAIN = "by hand, gRPC"
#: The model, and the same model with a response cache.
_NAME, _CACHED = "model", "cached"


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.server.triton_report",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("artifact", metavar="DIR", type=Path)
    parser.add_argument("--checkpoint", required=True, help="the checkpoint of the artifact")
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score")
    parser.add_argument("--threads", type=positive, default=available_cores())
    parser.add_argument("--rounds", type=positive)
    parser.add_argument("--quick", action="store_true", help="measure less, to try it out")
    parser.add_argument(
        "--output", type=Path, required=True, help="an .html page; see 'lanner bench --help'"
    )
    args = parser.parse_args(argv)
    try:
        require_page(args.output)
        with steps() as tell:
            report = _report(args, tell)
        files = write_report(report, args.output)
    except (LannerError, SubjectError) as error:
        sys.stderr.write(f"lanner_perf.server.triton_report: error: {error}\n")
        return 1
    print(terminal_text(report_page(report)))
    sys.stderr.write(f"written to {', '.join(map(str, files))}\n")
    return 0


def _report(args: argparse.Namespace, tell: Callable[[str], object]) -> dict[str, Any]:
    artifact = Artifact.open(args.artifact)
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lanner-")))
        tell("the repository by hand")
        stock = work / "stock.onnx"
        make_stock(args.checkpoint, stock)
        write_plain_repository(stock, work / "plain", artifact.manifest.dimension)
        write_repository([args.artifact], work / "ours", names=[_NAME])
        remembering = Serving(response_cache=True)
        write_repository([args.artifact], work / "ours", names=[_CACHED], serving=remembering)
        tell("two servers")
        plain, ours = (stack.enter_context(_server(work / name)) for name in ("plain", "ours"))
        tokenizer = artifact.file(artifact.manifest.tokenizer.file)
        by_hand = {"tokenizer": str(tokenizer), "file": str(stock)}
        request = ServerRequest(
            urls=(ours.grpc_url, ours.http_url),
            name=_NAME,
            against=args.artifact,
            access={},
            extent=Extent(
                suites=SUITES,
                pairs=args.pairs,
                threads=args.threads,
                rounds=args.rounds,
                is_quick=args.quick,
                command=("python", "-m", "lanner_perf.server.triton_report", *sys.argv[1:]),
            ),
            cached=_CACHED,
            others=(Spec(PLAIN, "triton-plain", plain.grpc_url, by_hand),),
        )
        return bench_server(request, tell)


def _server(repository: Path) -> TritonServer:
    return TritonServer(repository, http_port=0, grpc_port=0, metrics_port=0)


if __name__ == "__main__":
    sys.exit(main())
