"""The gain of each graph rewrite, measured on batches with and without it in turns.

    python -m lanner_perf.tools.passes CHECKPOINT --output build/passes.md

Each figure is a median over interleaved rounds.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.engines.onnxruntime import open_session
from lanner.errors import LannerError
from lanner.files.staging import staged_file
from lanner.files.texts import shipped_sentences
from lanner.machine.machine import package_versions, this_machine
from lanner.text.tokenization import Tokenizer
from lanner_export.checkpoint.checkpoint import Checkpoint
from lanner_export.graph.lookup import LookupTable
from lanner_export.graph.rewriting import PASSES
from lanner_export.graph.tracing import write_fp32
from lanner_export.loading import load_checkpoint
from lanner_export.precision.ranges import Feed
from lanner_export.precision.variants import Int8, calibration_feeds

#: Texts in a batch, and tokens of each text: one sentence, many sentences, some paragraphs.
SHAPES = ((1, 16), (32, 16), (4, 128))
PRECISIONS = ("fp32", "int8")
ALL = "all passes"
NONE = "no pass"
_CALIBRATION_TEXTS = 64
_SEED = 0
#: Calls in a row. A single text takes a twentieth of a batch's time, and its median varies more.
_CALLS = 4
_CALLS_OF_ONE = 30


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.tools.passes", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("checkpoint", help="a checkpoint with the head embed")
    parser.add_argument("--rounds", type=positive, default=12)
    parser.add_argument("--output", type=Path, help="the file for the table (default: stdout)")
    args = parser.parse_args()
    try:
        with steps() as begin, tempfile.TemporaryDirectory(prefix="lanner-") as directory:
            begin("loading the checkpoint")
            loaded = load_checkpoint(args.checkpoint, head="embed", scratch=Path(directory))
            graphs = _graphs(loaded, Path(directory), begin)
            begin("measuring")
            medians_ms = {
                shape: _medians_ms(graphs, _inputs(loaded, shape), args.rounds) for shape in SHAPES
            }
    except LannerError as error:
        sys.stderr.write(f"lanner_perf.tools.passes: error: {error}\n")
        return 1
    text = table(loaded.architecture.model_type, medians_ms)
    if args.output is None:
        sys.stdout.write(text)
    else:
        with staged_file(args.output) as file:
            file.write(text.encode())
    return 0


def _graphs(loaded: Checkpoint, directory: Path, begin: Any) -> dict[tuple[str, str], Path]:
    """Return a graph file for each left-out pass and precision."""
    if isinstance(loaded.graph, LookupTable):
        msg = "static vectors have no graph to rewrite: give a transformer's checkpoint"
        raise LannerError(msg)
    record = loaded.write_tokenizer(directory / "tokenizer.json")
    tokenizer = Tokenizer(directory / record.file, record)
    feeds = calibration_feeds(tokenizer, loaded.inputs, shipped_sentences()[:_CALIBRATION_TEXTS])
    names = [item.name for item in PASSES]
    left_out = {ALL: [], **{name: [name] for name in names}, NONE: names}
    graphs = {}
    for label, without in left_out.items():
        begin(f"graphs: {label}")
        fp32 = directory / f"{label}.fp32.onnx"
        write_fp32(loaded.graph, loaded.inputs, loaded.output, fp32, without_passes=without)
        int8 = directory / f"{label}.int8.onnx"
        Int8.calibrated(fp32, feeds).write(int8)
        graphs[label, "fp32"], graphs[label, "int8"] = fp32, int8
    return graphs


def _inputs(loaded: Checkpoint, shape: tuple[int, int]) -> Feed:
    texts, tokens = shape
    tokens = min(tokens, loaded.max_tokens or tokens)
    generator = np.random.default_rng(_SEED)
    ids = generator.integers(0, loaded.architecture.vocabulary_size, (texts, tokens))
    return {"input_ids": ids, "attention_mask": np.ones_like(ids)}


def _medians_ms(
    graphs: Mapping[tuple[str, str], Path], inputs: Feed, rounds: int
) -> dict[tuple[str, str], float]:
    sessions = [(key, open_session(path)) for key, path in graphs.items()]
    calls = _CALLS_OF_ONE if len(inputs["input_ids"]) == 1 else _CALLS
    times: dict[tuple[str, str], list[float]] = {key: [] for key in graphs}
    for turn in range(rounds):
        # The first call brings the graph's weights into the caches, so it is not counted. The order
        # of the graphs changes from round to round.
        start = turn * len(sessions) // rounds
        for key, session in sessions[start:] + sessions[:start]:
            for call in range(1 + calls):
                begin = time.perf_counter()
                session.run(None, dict(inputs))
                if call:
                    times[key].append(1e3 * (time.perf_counter() - begin))
    return {key: float(np.median(values)) for key, values in times.items()}


def table(model: str, medians_ms: Mapping[tuple[int, int], Mapping[tuple[str, str], float]]) -> str:
    """Return the medians as Markdown: ms with all passes, and % that leaving one out costs."""
    columns = [(precision, shape) for precision in PRECISIONS for shape in SHAPES]
    titles = [f"{precision} {texts} x {tokens}" for precision, (texts, tokens) in columns]
    rows = [["", *titles], ["---"] * (len(columns) + 1)]
    labels = list(dict.fromkeys(label for label, _ in medians_ms[SHAPES[0]]))
    for label in labels:
        row = [label if label in (ALL, NONE) else f"without `{label}`"]
        for precision, shape in columns:
            value, base = (medians_ms[shape][name, precision] for name in (label, ALL))
            row.append(f"{value:.2f} ms" if label == ALL else f"{100 * (value / base - 1):+.1f} %")
        rows.append(row)
    machine = this_machine()
    versions = ", ".join(f"{k} {v}" for k, v in package_versions("onnxruntime", "torch").items())
    lines = "\n".join(f"| {' | '.join(row)} |" for row in rows)
    return (
        f"{lines}\n\nTexts x tokens of a {model} encoder; one thread, medians of interleaved "
        f"rounds, on {machine.cpu}; {versions}.\n"
    )


if __name__ == "__main__":
    sys.exit(main())
