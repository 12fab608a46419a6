"""`lanner plan`: cores, pods and the autoscaler's values for a load, from measured figures."""

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING

from lanner.commands import console, options

if TYPE_CHECKING:
    from lanner_perf.elastic.plan import Plan

_EXAMPLES = """\
  lanner bench minilm.lanner --against none --output bench.html     writes bench.json, too
  lanner plan --rps 5000 --tokens 30 --p99-ms 50 --from bench.json
  lanner plan --rps 5000 --tokens 30 --p99-ms 50 --from bench.json --cores 4 --start-s 60
  lanner plan --rps 1000000 --tokens 30 --p99-ms 50 --from bench.json --core-hour 0.04
"""


def add_parser(subparsers: options.Subparsers) -> None:
    """Add the parser; see `lanner.commands`. Heavy imports wait until the command runs."""
    parser = options.add_command(
        subparsers,
        "plan",
        summary="plan the cores and pods for a load, from the result of 'lanner bench'",
        examples=_EXAMPLES,
    )
    number = _positive
    parser.add_argument(
        "--rps", metavar="N", type=number, required=True, help="requests a second at the peak"
    )
    parser.add_argument(
        "--tokens", metavar="N", type=number, required=True, help="tokens of a request"
    )
    parser.add_argument(
        "--p99-ms",
        metavar="MS",
        type=number,
        required=True,
        help="the time within which 99 of 100 requests are answered, without the network",
    )
    parser.add_argument(
        "--from",
        dest="result",
        metavar="FILE",
        type=Path,
        required=True,
        help="the result (.json) of 'lanner bench' on such a machine",
    )
    parser.add_argument(
        "--subject",
        metavar="NAME",
        help="a subject of the result (default: the fastest service, or Lanner's fastest variant)",
    )
    parser.add_argument(
        "--cores", metavar="N", type=options.positive, default=2, help="of a pod (default: 2)"
    )
    parser.add_argument(
        "--start-s",
        metavar="S",
        type=number,
        default=30.0,
        help="seconds from the decision until a new pod answers (default: 30)",
    )
    parser.add_argument(
        "--growth",
        metavar="PERCENT",
        type=_share,
        default=10.0,
        help="percent by which the load may grow in a minute (default: 10)",
    )
    parser.add_argument(
        "--zones",
        metavar="N",
        type=options.positive,
        default=3,
        help="zones, of which one may be lost; 1 if none may (default: 3)",
    )
    parser.add_argument(
        "--core-hour", metavar="PRICE", type=number, help="the price of a core for an hour"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Print the plan."""
    from lanner_perf.elastic.plan import Need, plan  # noqa: PLC0415
    from lanner_perf.elastic.service_time import of_report  # noqa: PLC0415
    from lanner_perf.report.results import read_result  # noqa: PLC0415

    subject, times = of_report(read_result(args.result), args.subject)
    need = Need(
        rps=args.rps,
        tokens=args.tokens,
        p99_ms=args.p99_ms,
        cores=args.cores,
        start_s=args.start_s,
        growth=args.growth / 100,
        zones=args.zones,
        core_hour=args.core_hour,
    )
    made = plan(need, subject, times)
    if args.json:
        console.print_json(made.to_json())
    else:
        print(text(made))


def text(made: "Plan") -> str:
    """Return the plan for people."""
    from lanner_perf.elastic.plan import hpa  # noqa: PLC0415

    need = made.need
    head = (
        f"{made.pods:,} pods of {need.cores} cores ({made.cores:,} cores) for {need.rps:,.0f} "
        f"requests a second; busy share {made.target:.2f}"
    )
    day = (
        f"A day with this peak (simulated): {made.within:.1%} of the time within "
        f"{need.p99_ms:g} ms, {made.pod_hours:,.0f} pod hours; without an autoscaler "
        f"{24 * made.pods:,.0f}."
    )
    lines = [head, "", *made.reasons, "", day]
    if made.worst_after_loss_ms is not None:
        lines.append(
            f"A lost zone at the peak (simulated): the worst p99 is {made.worst_after_loss_ms:.3g} "
            "ms until its pods are replaced."
        )
    if need.core_hour is not None:
        price = need.cores * need.core_hour
        lines.append(
            f"The day costs {made.pod_hours * price:,.2f}, without an autoscaler "
            f"{24 * made.pods * price:,.2f}."
        )
    lines += ["", "HorizontalPodAutoscaler (autoscaling/v2):", json.dumps(hpa(made), indent=2)]
    return "\n".join(lines)


def _positive(given: str) -> float:
    try:
        value = float(given)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        msg = f"must be a number above 0, not {given!r}"
        raise argparse.ArgumentTypeError(msg)
    return value


def _share(given: str) -> float:
    return 0.0 if given.strip() in ("0", "0.0") else _positive(given)
