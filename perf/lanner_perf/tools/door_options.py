"""The cost of options of `lanner serve`: a model is served without, with, and again without them.

    python -m lanner_perf.tools.door_options build/minilm.lanner --output build/traces.json \
        --options="--traces http://localhost:4318"

The three services run side by side and answer in turns, in another order each round, the same
callers of one text each. The second service without the options shows how much two equal services
differ: a cost below that was not seen.
"""

import argparse
import json
import os
import shlex
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from lanner.commands.options import positive
from lanner.files.staging import require_output_file, staged_file
from lanner.files.texts import shipped_sentences
from lanner.machine.machine import package_versions, this_machine
from lanner_perf.subjects.workloads import SEED
from lanner_perf.tools.front_door import PACKAGES, asked_by, served

#: The services, by their names in the result.
WITHOUT, WITH, AGAIN = "without", "with", "without_again"
_MODEL = "model"
#: CPU milliseconds of the service and requests a second, of one turn.
Turn = tuple[float, float]


def compared(turns: dict[str, list[Turn]], name: str) -> dict[str, float]:
    """Return how much more a service takes than the one without the options, as shares of it.

    The shares are taken within a round, because a machine is not equally fast for minutes.
    """
    ratios = np.array(turns[name]) / np.array(turns[WITHOUT])
    more_cpu, rate = ratios[:, 0] - 1, ratios[:, 1] - 1
    low, median, high = np.percentile(more_cpu, [25, 50, 75])
    return {
        "more_cpu": float(median),
        "more_cpu_lower_quartile": float(low),
        "more_cpu_upper_quartile": float(high),
        "more_requests_per_s": float(np.median(rate)),
    }


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--options", required=True, help="of lanner serve, in one word")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--calls", type=positive, default=4_000, help="requests of a turn")
    parser.add_argument("--callers", type=positive, default=32)
    parser.add_argument("--rounds", type=positive, default=10)
    args = parser.parse_args(argv)
    require_output_file(args.output)
    texts = list(shipped_sentences())
    np.random.default_rng(SEED).shuffle(texts)
    turns: dict[str, list[Turn]] = {WITHOUT: [], WITH: [], AGAIN: []}
    with ExitStack() as stack:
        services = {
            name: stack.enter_context(
                served(f"{_MODEL}={args.artifact}", _MODEL, *_options(name, args.options))
            )
            for name in turns
        }
        requests = {
            name: [service.endpoint.request([text]) for text in texts]
            for name, service in services.items()
        }
        for number in range(args.rounds + 1):
            names = list(turns)
            for name in (*names[number % 3 :], *names[: number % 3]):
                turn = asked_by(services[name], requests[name], args.calls, args.callers)
                if number:  # the first warms up
                    turns[name].append((turn.cpu_ms, turn.texts_per_s))
    content: dict[str, Any] = {
        "machine": asdict(this_machine()),
        "load_average": os.getloadavg(),
        "versions": package_versions(*PACKAGES),
        "options": args.options,
        "callers": args.callers,
        "requests_of_a_turn": args.calls,
        "cpu_ms": {name: float(np.median([one[0] for one in turns[name]])) for name in turns},
        "requests_per_s": {
            name: float(np.median([one[1] for one in turns[name]])) for name in turns
        },
        "compared": {name: compared(turns, name) for name in (WITH, AGAIN)},
        "turns": turns,
    }
    with staged_file(args.output) as file:
        file.write(json.dumps(content, indent=2).encode() + b"\n")
    shown = {name: value for name, value in content.items() if name not in _NOT_SHOWN}
    print(json.dumps(shown, indent=2))


def _options(name: str, options: str) -> list[str]:
    return shlex.split(options) if name == WITH else []


#: What is in the file alone.
_NOT_SHOWN = ("machine", "versions", "turns")

if __name__ == "__main__":
    main()
