"""``python -m lanner_perf.elastic.replay ARTIFACT``: replay a day in minutes, and simulate it."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

import lanner
from lanner.machine.machine import this_machine
from lanner_perf.elastic.autoscaler import DOWN, UP, Rules, Scaling
from lanner_perf.elastic.load_curve import day
from lanner_perf.elastic.replay.pods import Pace
from lanner_perf.elastic.replay.replay import Day, replay
from lanner_perf.elastic.replay.report import Bounds, checks, figures, markdown

#: Seconds over which the autoscaler averages the busy share, and between two scrapes, by its clock.
_WINDOW_S, _SCRAPE_S = 40.0, 10.0
#: Short enough for every artifact.
_TEXTS = ("a", "a b", "a b a", "a b a b")
#: The usual milliseconds of a request, which bound what the machine itself has to do.
_RUN_MS, _TEXT_MS = 6.0, 24.0


def main() -> int:
    """Replay, write the report, and return 1 if a bound was not kept."""
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.elastic.replay")
    parser.add_argument("artifact", type=Path, help="an artifact; its answers are slowed down")
    parser.add_argument("--minutes", type=float, default=6.0, help="of the replay (default: 6)")
    parser.add_argument(
        "--peak", type=float, default=160.0, help="requests a second (default: 160)"
    )
    parser.add_argument(
        "--target", type=float, default=0.55, help="of the busy share (default: 0.55)"
    )
    parser.add_argument("--p99-ms", type=float, default=250.0, help="the bound (default: 250)")
    parser.add_argument(
        "--faster",
        type=float,
        default=10.0,
        help="times that the clock of the autoscaler's values runs faster (default: 10)",
    )
    parser.add_argument(
        "--window-s",
        type=float,
        default=300.0,
        help="the stabilisation window for scaling down, by the autoscaler's clock (default: 300)",
    )
    parser.add_argument(
        "--up-window-s",
        type=float,
        default=60.0,
        help="the stabilisation window for scaling up (default: 60)",
    )
    parser.add_argument("--output", type=Path, help="a file for the report; a .json is beside it")
    args = parser.parse_args()
    scaling = Scaling(
        args.target,
        least=2,
        most=14,
        up=Rules(args.up_window_s, UP.policies),
        down=Rules(args.window_s, DOWN.policies),
    ).faster(args.faster)
    lengths = lanner.load(args.artifact, engine="onnxruntime").count_tokens(_TEXTS)
    mean = float(np.mean(lengths))
    pace = Pace(_RUN_MS, _TEXT_MS / mean)
    curve = day(args.peak, args.minutes / 60)
    whole = Day(
        args.artifact,
        pace,
        curve,
        scaling,
        _TEXTS,
        [int(one) for one in lengths],
        window_s=_WINDOW_S / args.faster,
        scrape_s=_SCRAPE_S / args.faster,
    )
    with tempfile.TemporaryDirectory(prefix="lanner-replay-") as directory:
        found = replay(whole, Path(directory))
    together = 512 / mean
    bounds = Bounds(
        p99_ms=args.p99_ms,
        every_s=60.0 / args.faster,
        window_s=scaling.down.window_s,
        capacity=1e3 / (_TEXT_MS + _RUN_MS / together),
        target=args.target,
        least=scaling.least,
    )
    real, simulated = (
        figures(one, whole.curve, bounds) for one in (found.outcome, found.simulated)
    )
    about = {
        "machine": f"{this_machine().cpu}, {this_machine().cores} cores",
        "pods": f"real `lanner serve` processes of one worker, whose engine sleeps until a batch "
        f"has taken {_RUN_MS:g} ms and {_TEXT_MS:g} ms for each text of mean length",
        "clock": f"{args.faster:g} times as fast as that of the autoscaler's values; a minute is "
        f"{bounds.every_s:g} s",
        "load": f"{args.minutes:g} minutes, peak {args.peak:g} requests a second",
        "target": f"busy share {args.target:g}, p99 {args.p99_ms:g} ms",
        "windows": f"{args.up_window_s:g} s for scaling up, {args.window_s:g} s for scaling down",
        "start of a pod": f"{np.mean(found.starts_s):.2f} s (mean of {len(found.starts_s)}), "
        f"{max(found.starts_s):.2f} s at most",
        "a request beside its batch": f"{found.request_ms:.2f} ms",
        "pods that failed": "; ".join(found.faults) or "none",
    }
    text = markdown(real, simulated, about)
    print(text)
    if found.reasons:
        print(f"lost: {sorted(set(found.reasons))}", file=sys.stderr)
    for fault in found.faults:
        print(f"a pod failed: {fault}", file=sys.stderr)
    if args.output is not None:
        args.output.write_text(text)
        content = {
            "about": about,
            "replay": real,
            "simulation": simulated,
            "asked": found.outcome.asked,
            "ready": found.outcome.pods,
            "simulated_asked": found.simulated.asked,
            "p99_ms_by_minute": found.outcome.p99_ms(bounds.every_s),
            "starts_s": list(found.starts_s),
            "faults": list(found.faults),
        }
        args.output.with_suffix(".json").write_text(json.dumps(content, indent=1) + "\n")
    return 0 if all(kept for _, kept in checks(real)) and not found.faults else 1


if __name__ == "__main__":
    sys.exit(main())
