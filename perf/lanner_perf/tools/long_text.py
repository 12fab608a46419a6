"""The delay and the memory that one text of ten million characters causes for other callers.

    python -m lanner_perf.tools.long_text build/minilm.lanner --output build/long_text.json

Rounds without the long text and with it alternate in one process. The program writes the figures as
JSON, and fails if the other callers wait longer or more memory is used than the bounds allow.
"""

import argparse
import json
import sys
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lanner.commands.options import positive
from lanner.errors import LannerError
from lanner.files.staging import require_output_file, staged_file
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load
from lanner.machine.machine import available_cores, package_versions, this_machine
from lanner.models.answers import ask
from lanner.models.base import Model
from lanner.triton.client.connection import connect
from lanner_perf.subjects.callers import closed_loop
from lanner_perf.subjects.resident import peak_resident_mb, restart_peak

MOST_DELAY_MS = 100.0
MOST_MB = 100.0
CHARACTERS = 10_000_000
#: Sentences, one endless word, and only spaces: tokenizers read each of them differently.
KINDS = {"sentences": "the train leaves at seven. ", "word": "x", "space": " "}


class Round(NamedTuple):
    """A round of the callers.

    Attributes:
        p99_ms: The 99th percentile of their calls.
        peak_mb: The peak of resident memory during the round.
        long_texts: The number of answers to the long text during the round.
    """

    p99_ms: float
    peak_mb: float
    long_texts: int


def main() -> int:
    args = _parser().parse_args()
    try:
        require_output_file(args.output)
        if "://" in args.model:
            model: Model = connect(args.model, args.name)
        else:
            model = load(args.model, variant=args.variant, threads=args.threads)
        results = {kind: compared(model, kind, args) for kind in KINDS}
    except (LannerError, OSError) as error:
        sys.stderr.write(f"lanner_perf.tools.long_text: error: {error}\n")
        return 1
    holds = all(one["delay_ms"] <= MOST_DELAY_MS for one in results.values()) and all(
        one["more_mb"] <= MOST_MB for one in results.values()
    )
    report = {
        "machine": this_machine().to_json(),
        "versions": package_versions("lanner", "numpy", "onnxruntime", "openvino", "tokenizers"),
        "model": args.model,
        "variant": model.variant.name,
        "engine": model.runner.engine.name,
        "callers": args.callers,
        "characters": CHARACTERS,
        "texts_in_a_round": args.texts,
        "rounds": args.rounds,
        "bounds": {"delay_ms": MOST_DELAY_MS, "more_mb": MOST_MB},
        "kinds": results,
        "holds": holds,
    }
    with staged_file(args.output) as file:
        file.write(json.dumps(report, indent=2).encode() + b"\n")
    for kind, one in results.items():
        print(
            f"{kind}: p99 {one['without_p99_ms']:.1f} ms, with it {one['with_p99_ms']:.1f} ms "
            f"({one['delay_ms']:+.1f}); {one['more_mb']:+.1f} MB"
        )
    print(f"within the bounds: {'yes' if holds else 'no'}")
    return 0 if holds else 1


def compared(model: Model, kind: str, args: argparse.Namespace) -> dict[str, float]:
    """Return the medians of rounds without and with a long text of one kind."""
    pattern = KINDS[kind]
    text = (pattern * (CHARACTERS // len(pattern) + 1))[:CHARACTERS]
    short = (shipped_sentences() * (args.texts // len(shipped_sentences()) + 1))[: args.texts]
    one_round(model, short, args.callers, None)  # warms up
    rounds = [
        one_round(model, short, args.callers, text if number % 2 else None)
        for number in range(2 * args.rounds)
    ]
    without, beside = rounds[::2], rounds[1::2]
    before, after = (float(np.median([one.p99_ms for one in some])) for some in (without, beside))
    more = max(one.peak_mb for one in beside) - max(one.peak_mb for one in without)
    return {
        "without_p99_ms": before,
        "with_p99_ms": after,
        "delay_ms": after - before,
        "more_mb": more,
        "long_texts": sum(one.long_texts for one in beside),
    }


def one_round(model: Model, short: list[str], callers: int, text: str | None) -> Round:
    """Run callers of short texts, and one more caller for the long text, if there is one."""
    is_over, answered = threading.Event(), 0

    def send_long() -> None:
        nonlocal answered
        while text is not None and not is_over.is_set():
            ask(model, [text])
            answered += 1

    sender = threading.Thread(target=send_long)
    restart_peak()
    sender.start()
    try:
        run = closed_loop(lambda one: ask(model, [one]), short, callers - 1)
    finally:
        is_over.set()
        sender.join()
    if run.failure:
        raise LannerError(run.failure)
    latencies_ms = [(call.end_s - call.due_s) * 1e3 for call in run.calls]
    return Round(float(np.percentile(latencies_ms, 99)), peak_resident_mb(), answered)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m lanner_perf.tools.long_text", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("model", metavar="DIR|URL", help="an artifact, or a server's address")
    parser.add_argument("--name", default="", help="the model's name on the server")
    parser.add_argument("--variant", default="auto", help="the variant (default: auto)")
    parser.add_argument(
        "--threads", type=positive, default=available_cores(), help="cores (default: all)"
    )
    parser.add_argument(
        "--callers", type=positive, default=16, help="callers, with the one of the long text (16)"
    )
    parser.add_argument(
        "--texts", type=positive, default=4_000, help="short texts in a round (default: 4000)"
    )
    parser.add_argument(
        "--rounds", type=positive, default=5, help="rounds of each kind (default: 5)"
    )
    parser.add_argument("--output", type=Path, required=True, help="the JSON file to write")
    return parser


if __name__ == "__main__":
    sys.exit(main())
