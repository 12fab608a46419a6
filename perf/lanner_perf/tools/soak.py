"""Memory over a long run: texts of random length, in bulk and from many callers, in one process.

    python -m lanner_perf.tools.soak build/minilm.lanner --output build/soak.json
    python -m lanner_perf.tools.soak build/minilm.lanner --through grpc --output build/soak.json

With --through, a server runs the model, and the memory of its client is measured. The program
writes the samples as JSON and a plot beside it, and fails if memory grew beyond the bound.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib import import_module
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from lanner.artifact.artifact import Artifact
from lanner.artifact.heads import InputKind
from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.commands.source import split_url
from lanner.engines import open_engine
from lanner.errors import LannerError
from lanner.files.staging import require_output_file, staged_file
from lanner.files.texts import shipped_sentences
from lanner.loading.load import load, open_tokenizer
from lanner.machine.machine import available_cores, package_versions, this_machine
from lanner.models.base import Model
from lanner.triton.client.connection import connect
from lanner_perf.subjects.hosting import THROUGH, hosted
from lanner_perf.subjects.resident import peak_resident_mb, proportional_mb, resident_mb
from lanner_perf.subjects.workloads import SEED

#: The memory after this many texts is the baseline of the run.
BASELINE_TEXTS = 1_000
MOST_GROWTH = 1.2
#: Texts between two samples. Half of them come in bulk, half from callers.
STEP_TEXTS = 200
#: The longest text in words, as a multiple of the model's limit. A word has at least one token.
_BEYOND_LIMIT = 1.25
_LIMIT_OF_THE_UNLIMITED = 512


class Sample(NamedTuple):
    """The resident memory in MB after a number of texts."""

    texts: int
    resident_mb: float


class Held(NamedTuple):
    """The memory of a part in MB: resident, and with each shared page counted once."""

    resident_mb: float
    proportional_mb: float


@dataclass(frozen=True)
class Growth:
    """The verdict on the samples.

    Attributes:
        baseline_mb: Resident memory after `BASELINE_TEXTS`.
        end_mb: Resident memory at the end.
        highest_mb: The highest sample after the baseline.
        ratio: `highest_mb` divided by `baseline_mb`.
        holds: True if the ratio is at most `MOST_GROWTH`.
    """

    baseline_mb: float
    end_mb: float
    highest_mb: float
    ratio: float
    holds: bool

    @classmethod
    def of(cls, samples: list[Sample]) -> "Growth":
        """Return the verdict on samples that reach beyond `BASELINE_TEXTS`."""
        later = [sample.resident_mb for sample in samples if sample.texts >= BASELINE_TEXTS]
        highest = max(later)
        ratio = highest / later[0]
        return cls(later[0], later[-1], highest, ratio, ratio <= MOST_GROWTH)


def main() -> int:
    args = _parser().parse_args()
    try:
        require_output_file(args.output)
        artifact = Artifact.open(args.artifact)
        with steps() as begin:
            parts = {}
            if args.through == "process":
                begin("what each part holds")
                # With one thread an engine has one session, with several threads it may have more.
                parts = {
                    str(threads): _in_fresh_process(
                        parts_mb, args.artifact, args.engine, args.variant, threads
                    )
                    for threads in sorted({1, args.threads})
                }
            with _opened(args) as model:
                loaded_mb = resident_mb()
                samples = []
                for sample in soak(model, args.texts, callers=args.callers):
                    samples.append(sample)
                    begin(f"{sample.texts:,} of {args.texts:,} texts: {sample.resident_mb:.0f} MB")
    except (LannerError, OSError) as error:
        sys.stderr.write(f"lanner_perf.tools.soak: error: {error}\n")
        return 1
    growth = Growth.of(samples)
    report = {
        "machine": this_machine().to_json(),
        "versions": package_versions(
            "lanner", "numpy", "onnxruntime", "openvino", "tokenizers", "tritonclient"
        ),
        "artifact": artifact.manifest.name,
        "variant": model.variant.name,
        "engine": model.runner.engine.name,
        "through": args.through,
        "threads": args.threads,
        "callers": args.callers,
        "texts": args.texts,
        "parts_mb_by_threads": parts,
        "loaded_mb": loaded_mb,
        "end_proportional_mb": proportional_mb(),
        "peak_mb": max(growth.highest_mb, peak_resident_mb()),
        **asdict(growth),
        "bound": MOST_GROWTH,
        "samples": samples,
    }
    _write(report, args.output)
    sys.stdout.write(f"{summary(report)}\n")
    return 0 if growth.holds else 1


@contextmanager
def _opened(args: argparse.Namespace) -> Iterator[Model]:
    with hosted(args.artifact, args.through, variant=args.variant, threads=args.threads) as place:
        if args.through != "process":
            yield connect(*split_url(place))
            return
        yield load(place, engine=args.engine, variant=args.variant, threads=args.threads)


def _in_fresh_process(call: Callable[..., dict[str, Held]], *arguments: object) -> dict[str, Any]:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        held = process.submit(call, *arguments).result()
    return {name: part._asdict() for name, part in held.items()}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.tools.soak", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("artifact", metavar="DIR", help="an artifact that 'lanner export' wrote")
    parser.add_argument("--texts", type=_more_than_baseline, default=100_000)
    parser.add_argument("--through", choices=THROUGH, default="process")
    parser.add_argument("--variant", default="auto")
    parser.add_argument("--engine", default="auto", help="the engine in this process")
    parser.add_argument("--threads", type=positive, default=available_cores())
    parser.add_argument("--callers", type=positive, default=8, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, required=True, help="JSON; the plot goes beside it")
    return parser


def _more_than_baseline(text: str) -> int:
    number = positive(text)
    if number <= BASELINE_TEXTS:
        msg = f"must be more than {BASELINE_TEXTS:,}, because growth is measured from there"
        raise argparse.ArgumentTypeError(msg)
    return number


def soak(model: Model, texts: int, *, callers: int) -> Iterator[Sample]:
    """Let a model of any head answer a number of random texts.

    Args:
        model: The model.
        texts: The number of texts.
        callers: Threads for the half that comes with one text a call.

    Yields:
        A sample after every `STEP_TEXTS`.
    """
    head = model.manifest.head_record
    answer = getattr(model, head.methods[0])
    source = random_texts(model.max_seq_length or _LIMIT_OF_THE_UNLIMITED)
    takes_pairs = head.inputs is InputKind.PAIRS
    inputs: Iterator[Any] = zip(source, source, strict=True) if takes_pairs else source
    with ThreadPoolExecutor(callers) as pool:
        for done in range(0, texts, STEP_TEXTS):
            step = list(islice(inputs, min(STEP_TEXTS, texts - done)))
            half = len(step) // 2
            answer(step[:half])
            # A list of one, because a scorer would take a single pair for two texts.
            for _ in pool.map(lambda item: answer([item]), step[half:]):
                pass
            yield Sample(done + len(step), resident_mb())


def random_texts(limit_tokens: int) -> Iterator[str]:
    """Yield texts from 1 word to beyond the limit without end.

    Texts of 1 or 2 words are as frequent as texts of 100 to 200.
    """
    generator = np.random.default_rng(SEED)
    words = np.array(sorted({word for text in shipped_sentences() for word in text.split()}))
    longest = np.log(_BEYOND_LIMIT * limit_tokens)
    while True:
        count = round(float(np.exp(generator.uniform(0, longest))))
        yield " ".join(generator.choice(words, count))


def parts_mb(path: str, engine: str, variant: str, threads: int) -> dict[str, Held]:
    """Return the memory that each part adds to this process, which should be fresh."""
    found: dict[str, Held] = {}
    held: list[object] = []

    def add(name: str, part: object) -> None:
        held.append(part)
        resident, proportional = resident_mb(), proportional_mb()
        for earlier in found.values():
            resident -= earlier.resident_mb
            proportional -= earlier.proportional_mb
        found[name] = Held(resident, proportional)

    add("python_and_lanner", None)
    artifact = Artifact.open(path)
    chosen, manifest = artifact.choose(variant), artifact.manifest
    engine = chosen.engine if engine == "auto" else engine
    add("engine_package", import_module(engine))
    add("tokenizer", open_tokenizer(artifact.file(manifest.tokenizer.file), manifest))
    file, precision = artifact.file(chosen.file), chosen.precision
    add("engine", open_engine(engine, file, precision=precision, threads=threads, workers=threads))
    return found


def summary(report: dict[str, Any]) -> str:
    """Return the lines for the run, the memory of its parts, and the verdict."""
    holds = "holds" if report["holds"] else "does not hold"
    parts = [
        f"with {threads} thread{'s' if threads != '1' else ''} "
        + ", ".join(
            f"{name.replace('_', ' ')} {part['resident_mb']:.0f} ({part['proportional_mb']:.0f})"
            for name, part in held.items()
        )
        for threads, held in report["parts_mb_by_threads"].items()
    ]
    of_parts = (
        f"MB of the parts (in brackets with shared pages counted once): {'; '.join(parts)}\n"
        if parts
        else ""
    )
    return (
        f"{report['artifact']} {report['variant']} in {report['engine']}, {report['threads']} "
        f"threads, {report['callers']} callers: loaded {report['loaded_mb']:.0f} MB\n"
        f"{of_parts}"
        f"{report['baseline_mb']:.0f} MB after {BASELINE_TEXTS:,} texts, at most "
        f"{report['highest_mb']:.0f} MB until {report['texts']:,}: {report['ratio']:.3f}x, at most "
        f"{report['bound']}x {holds}; at the end {report['end_proportional_mb']:.0f} MB with "
        "shared pages counted once"
    )


def draw(report: dict[str, Any], file: BinaryIO) -> None:
    """Write a PNG: resident memory over texts, with the bound."""
    import matplotlib as mpl  # noqa: PLC0415 (imported after the samples, so that its memory is not measured)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(9, 5), layout="constrained")
    texts, resident = zip(*report["samples"], strict=True)
    axes.plot(texts, resident, color="black", linewidth=1.2, label="resident")
    bound_mb = report["bound"] * report["baseline_mb"]
    axes.axhline(
        bound_mb,
        color="black",
        linestyle="--",
        linewidth=1,
        label=f"{report['bound']}x of that after {BASELINE_TEXTS:,} texts",
    )
    axes.axhline(
        report["loaded_mb"], color="black", linestyle=":", linewidth=1, label="loaded, no text yet"
    )
    axes.plot(BASELINE_TEXTS, report["baseline_mb"], "ko", label=f"after {BASELINE_TEXTS:,} texts")
    axes.set_ylim(0, 1.15 * max(bound_mb, report["highest_mb"]))
    axes.set_xlim(left=0)
    axes.set_xlabel("texts of random length, half in bulk, half from callers")
    axes.set_ylabel("resident memory, MB")
    axes.grid(color="0.9")
    axes.set_title(
        f"{report['artifact']} {report['variant']} in {report['engine']}, "
        f"{report['threads']} threads, {report['callers']} callers"
    )
    axes.legend(loc="lower right", frameon=False)
    figure.savefig(file, format="png", dpi=110)
    pyplot.close(figure)


def _write(report: dict[str, Any], path: Path) -> None:
    with staged_file(path) as file:
        file.write(json.dumps(report, indent=1, allow_nan=False).encode() + b"\n")
    with staged_file(path.with_suffix(".png")) as file:
        draw(report, file)
    sys.stderr.write(f"written to {path} and {path.with_suffix('.png').name}\n")


if __name__ == "__main__":
    sys.exit(main())
