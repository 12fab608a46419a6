"""`lanner bench`: measure an artifact, a model on a server or a service, beside its peers."""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lanner.commands import console, options, source
from lanner.errors import BenchmarkError
from lanner.machine.machine import available_cores
from lanner_perf import plan_command
from lanner_perf.record.schema import SUITES

if TYPE_CHECKING:
    from lanner_perf.report.compare import Comparison
    from lanner_perf.report.extent import Extent

    Measure = Callable[[Callable[[str], object]], dict[str, Any]]

_MODELS = "an artifact DIR, the URLs of a model on a server, or the URLs of services"
_MEASURING = (
    *("checkpoint", "against", "suites", "pairs", "calibration", "threads", "rounds", "quick"),
    *("header", *source.CERTIFICATES),
)
_HEADER = "--header"

_EXAMPLES = """\
  lanner bench minilm.lanner --checkpoint path/to/checkpoint --output bench.html
  lanner bench minilm.lanner --checkpoint path/to/checkpoint --pairs pairs.csv --quick
  lanner bench minilm.lanner --against none --suites latency,throughput
  lanner bench grpc://localhost:8001/minilm --against minilm.lanner --output server.html
  lanner bench grpc://localhost:8001/minilm http://localhost:8000/minilm --quick
  lanner bench http://localhost:8080/v1 http://localhost:7997/v1 --against minilm.lanner
  lanner bench --compare old.json new.json --fail-below 0.95
  lanner bench --render bench.json
"""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the parsers of this distribution; see `lanner.commands`. Heavy imports wait."""
    plan_command.add_parser(subparsers)
    parser = options.add_command(
        subparsers,
        "bench",
        summary="measure an artifact beside other runtimes, or a model on a Triton server",
        examples=_EXAMPLES,
    )
    parser.add_argument(
        "models",
        metavar="DIR|URL",
        nargs="*",
        help="an artifact that 'lanner export' wrote; or a model on a Triton server: "
        "grpc://HOST:8001/NAME, http://HOST:8000/NAME or both (NAME and NAME_text are measured); "
        "or services with OpenAI's API: http://HOST:8080/v1 or .../v1/MODEL each",
    )
    parser.add_argument("--checkpoint", help="the checkpoint of the artifact, which the peers run")
    parser.add_argument(
        "--against",
        metavar="NAME,...|DIR",
        type=_names,
        help="with an artifact: the peers to measure, or all, or none (default: all); with a model "
        "on a server: the DIR of its artifact, to run in process (default: none); with services: "
        "an artifact DIR (required)",
    )
    source.add_server_options(parser)
    parser.add_argument(
        "--suites",
        metavar="LIST",
        type=_suites,
        help=f"what to measure, comma-separated: {', '.join(map(_option, SUITES))} "
        "(default: everything)",
    )
    parser.add_argument(
        "--pairs",
        metavar="FILE",
        type=Path,
        help="CSV of sentence1,sentence2,score: measure with these texts, and report the "
        "correlation with the scores (default: the sentences that Lanner ships, without scores)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        type=Path,
        help="texts to calibrate OpenVINO's int8 with; to be fair, give those of the artifact's "
        "int8 (default: the sentences that Lanner ships)",
    )
    parser.add_argument(
        "--threads",
        metavar="N",
        type=options.positive,
        help="cores that each subject may use, except servers (default: all that are allowed)",
    )
    parser.add_argument(
        "--rounds",
        metavar="N",
        type=options.positive,
        help="rounds of latency and throughput; on a server, of concurrent callers too (default: "
        "3, with --quick 1)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="measure less, to try the benchmark in minutes"
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write an .html page with the plots inside, and beside it .json, .md and the plots "
        "as .png (default: a table on stdout)",
    )
    parser.add_argument(
        "--compare",
        metavar=("OLD", "NEW"),
        nargs=2,
        type=Path,
        help="show the changes between two results (.json) that exceed their noise",
    )
    parser.add_argument(
        "--fail-below",
        metavar="RATIO",
        type=_ratio,
        help="with --compare: exit with 1 if a figure fell below this ratio, beyond the noise "
        "(0.95: worse by more than 5 %%)",
    )
    parser.add_argument(
        "--render",
        metavar="RESULT",
        type=Path,
        help="write the pages and plots of a result (.json) again, beside it or to --output",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Measure, compare or render.

    Raises:
        UsageError: The options ask for none of the three, or for more than one.
        BenchmarkError: A subject failed, or a figure became worse than allowed.
    """
    asked = [bool(args.models), args.compare is not None, args.render is not None]
    options.need(sum(asked) == 1, f"give one of {_MODELS}, --compare OLD NEW, --render RESULT")
    given = [name for name in _MEASURING if getattr(args, name)]
    options.need(
        args.models or not given,
        f"{options.option_of(given[0]) if given else ''} is for measuring {_MODELS}",
    )
    options.need(args.compare or args.fail_below is None, "--fail-below is for --compare OLD NEW")
    options.need(not args.compare or args.output is None, "--compare writes to stdout alone")
    if args.compare:
        _compare(args)
    elif args.render:
        _render(args)
    else:
        _measure(args)


def _measure(args: argparse.Namespace) -> None:
    are_urls = {source.is_url(model) for model in args.models}
    is_server = are_urls == {True}
    options.need(
        is_server or len(args.models) == 1, "give one artifact DIR, or the URLs of one model"
    )
    if not is_server:
        source.require_no_server_options(args)
    options.need(
        not (is_server and args.checkpoint),
        "--checkpoint is for the peers of an artifact DIR: beside a model on a server --against "
        "DIR measures its artifact",
    )
    from lanner_perf.report.extent import Extent  # noqa: PLC0415
    from lanner_perf.report.results import require_page, write_report  # noqa: PLC0415

    extent = Extent(
        suites=args.suites or SUITES,
        pairs=args.pairs,
        threads=args.threads or available_cores(),
        rounds=args.rounds,
        is_quick=args.quick,
        command=("lanner", *_without_secrets(sys.argv[1:], args.header)),
    )
    if is_server:
        from lanner_perf.server.service_bench import is_service  # noqa: PLC0415

        are_services = {is_service(model) for model in args.models}
        options.need(len(are_services) == 1, "give URLs of one model on a server, or of services")
        measure = (_of_services if are_services == {True} else _of_server)(args, extent)
    else:
        measure = _of_artifact(args, extent)
    if args.output is not None:
        require_page(args.output)
    with console.steps() as begin:
        report = measure(begin)
    files = [] if args.output is None else write_report(report, args.output)
    _show(args, report, files)


def _of_artifact(args: argparse.Namespace, extent: "Extent") -> "Measure":
    from lanner_perf.bench import Request, bench  # noqa: PLC0415

    request = Request(
        artifact=Path(args.models[0]),
        checkpoint=args.checkpoint,
        against=args.against or ("all",),
        extent=extent,
        calibration=args.calibration,
    )
    return partial(bench, request)


def _of_server(args: argparse.Namespace, extent: "Extent") -> "Measure":
    from lanner.triton.contract.tensors import TEXT_SUFFIX  # noqa: PLC0415
    from lanner_perf.server.server_bench import ServerRequest, bench_server  # noqa: PLC0415

    against = [] if args.against == ("none",) else list(args.against or ())
    options.need(len(against) <= 1, "beside a model on a server --against takes one artifact DIR")
    urls, names = zip(*map(source.split_url, args.models), strict=True)
    options.need(
        len({name.removesuffix(TEXT_SUFFIX) for name in names}) == 1,
        f"the URLs name different models ({', '.join(names)}): give one model, over gRPC, HTTP or "
        "both",
    )
    request = ServerRequest(
        urls=urls,
        name=names[0],
        against=Path(against[0]) if against else None,
        access=source.server_access(args),
        extent=extent,
    )
    return partial(bench_server, request)


def _of_services(args: argparse.Namespace, extent: "Extent") -> "Measure":
    from lanner_perf.server.service_bench import ServiceRequest, bench_services  # noqa: PLC0415

    source.require_no_server_options(args)
    against = list(args.against or ())
    options.need(
        len(against) == 1 and against != ["none"],
        "beside services --against names the artifact DIR that runs in process",
    )
    return partial(bench_services, ServiceRequest(tuple(args.models), Path(against[0]), extent))


def _without_secrets(arguments: Sequence[str], headers: Sequence[str]) -> list[str]:
    """Return the command line for the report, without the values of headers."""
    shown = list(arguments)
    for header in headers:
        name = header.partition(":")[0]
        shown = [argument.replace(header, f"{name}:...") for argument in shown]
    return shown


def _render(args: argparse.Namespace) -> None:
    from lanner_perf.report.checks import checks_of  # noqa: PLC0415
    from lanner_perf.report.results import (  # noqa: PLC0415
        PAGE_SUFFIX,
        read_result,
        require_page,
        write_report,
    )

    page = args.output or args.render.with_suffix(PAGE_SUFFIX)
    report = read_result(args.render)
    require_page(page)
    report["checks"] = [check.to_json() for check in checks_of(report)]
    _show(args, report, write_report(report, page))


def _show(args: argparse.Namespace, report: Any, files: list[Path]) -> None:
    from lanner_perf.report.content import report_page  # noqa: PLC0415
    from lanner_perf.report.terminal import terminal_text  # noqa: PLC0415

    if args.json:
        console.print_json(report)
    else:
        print(terminal_text(report_page(report)))
    if files:
        console.say(f"written to {', '.join(str(file) for file in files)}")


def _compare(args: argparse.Namespace) -> None:
    from lanner_perf.report.compare import compare, comparison_text  # noqa: PLC0415
    from lanner_perf.report.results import read_result  # noqa: PLC0415

    old, new = map(read_result, args.compare)
    comparison = compare(old, new)
    if comparison.differences:
        console.say(f"lanner: warning: {comparison.warning}")
    if args.json:
        console.print_json(comparison.to_json())
    else:
        print(comparison_text(comparison))
    if args.fail_below is not None:
        _require(comparison, args.fail_below)


def _require(comparison: "Comparison", bound: float) -> None:
    if worse := comparison.worse_than(bound):
        names = ", ".join(f"{one.subject} {one.label}" for one in worse[:3])
        more = f" and {len(worse) - 3} more" if len(worse) > 3 else ""
        msg = f"worse than {bound:g} of the older result, beyond the noise: {names}{more}"
        raise BenchmarkError(msg)


def _names(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        msg = f"{text!r}: use all, none, or names of peers"
        raise argparse.ArgumentTypeError(msg)
    return names


def _suites(text: str) -> tuple[str, ...]:
    names = [name.strip().replace("-", "_") for name in text.split(",")]
    if unknown := [_option(name) for name in names if name not in SUITES]:
        known = ", ".join(map(_option, SUITES))
        msg = f"there is no suite {', '.join(unknown)!r}: use a comma-separated list of {known}"
        raise argparse.ArgumentTypeError(msg)
    return tuple(name for name in SUITES if name in names)


def _option(suite: str) -> str:
    """Return the name of a suite for people."""
    return suite.replace("_", "-")


def _ratio(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= 1:
        msg = f"must be a number above 0, at most 1, not {text!r}"
        raise argparse.ArgumentTypeError(msg)
    return value
