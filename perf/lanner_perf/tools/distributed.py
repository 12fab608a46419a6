"""Jobs on a local cluster of Ray beside the same job in one process, and beside plain functions.

    python -m lanner_perf.tools.distributed build/minilm.lanner --checkpoint CHECKPOINT \
        --pairs pairs.csv --work build/rows --output build/distributed.json

It needs Ray (the extra `lanner[ray]`). The cluster has a node for each core, with one core each, so
all ways have the same cores. The ways:

- `local`: `lanner encode --on local`, one process.
- `ray`: `lanner encode --on ray`.
- `dataset`: `lanner.distributed.ray.encode` on a dataset of Ray Data.
- `plain`: `map_batches` around `lanner.load(...).encode`, 256 rows a batch, as Ray's guide has it.
- `plain-two`: the same with workers that ask for no core, so that Ray runs one for each core beside
  its reading and writing.
- `sentence-transformers`: `map_batches` around `SentenceTransformer.encode`, as `plain`.
"""

import argparse
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from lanner.artifact.artifact import Artifact
from lanner.commands.console import steps
from lanner.commands.options import positive
from lanner.distributed.arrow_encoder import ArrowEncoder
from lanner.errors import BenchmarkError
from lanner.files.staging import require_output_file, staged_file
from lanner.machine.machine import available_cores, package_versions, this_machine
from lanner_perf.subjects.plain_workers import (
    Diary,
    Plain,
    PlainSentenceTransformers,
    Written,
)
from lanner_perf.subjects.watched import Watched, watched
from lanner_perf.subjects.workloads import SEED, build_workloads

PLAIN_ROWS = 256
#: The ways, and the others that each is compared with: the least ratio of their rates.
WAYS = ("local", "ray", "dataset", "plain", "plain-two", "sentence-transformers")
ASKED = {"local": 0.9, "plain": 1.5, "sentence-transformers": 4.0}
#: Processes that a node of Ray keeps for Ray Data. By default it is the number of its cores: with
#: one core, Ray would start a process for each task that reads or writes, which costs a core
#: seconds. Ray starts them all at once, so `ray`, which has no such tasks, does without.
_IDLE_PROCESSES = 8
#: The store of objects of a node: by default it takes a third of the memory of the machine.
_STORE_BYTES = 500_000_000


@dataclass(frozen=True)
class Timing:
    """The time that a way took. Its steady part is without the starts of workers.

    Attributes:
        rows: The number of rows.
        whole_s: Seconds from the call to its end, with the start of its workers.
        rows_per_s: `rows` in `whole_s`.
        steady_rows_per_s: The rate in the steady part: from when there are as many files of the
            output as cores (of `plain` and the like: batches), to the last; None if all were
            written by then.
        worker_ms_per_row: Processor time of the workers in the steady part.
        other_ms_per_row: The same of all other processes: the cluster, its tasks that read and
            write, and the program that began the job.
        memory_mb: The resident memory of each worker, in quarters of its life: the mean of each.
        peak_mb: The most resident memory of a worker.
    """

    rows: int
    whole_s: float
    rows_per_s: float
    steady_rows_per_s: float | None
    worker_ms_per_row: float | None
    other_ms_per_row: float | None
    memory_mb: dict[str, list[float]]
    peak_mb: float

    @classmethod
    def of(cls, written: Sequence[Written], whole_s: float, watch: Watched, cores: int) -> "Timing":
        """Return the timing of a way by what it has written."""
        ordered = sorted(written)
        rows = sum(one.rows for one in ordered)
        begin_s, end_s = ordered[min(cores, len(ordered)) - 1].at_s, ordered[-1].at_s
        steady = sum(one.rows for one in ordered[cores:])
        rate = worker_ms = other_ms = None
        if steady and end_s > begin_s:
            rate = steady / (end_s - begin_s)
            worker_s, other_s = watch.cpu_s(begin_s, end_s)
            worker_ms, other_ms = 1000 * worker_s / steady, 1000 * other_s / steady
        return cls(
            rows,
            whole_s,
            rows / whole_s,
            rate,
            worker_ms,
            other_ms,
            watch.memory_mb(),
            watch.peak_mb(),
        )


def write_texts(folder: Path, sentences: Sequence[str], *, rows: int, files: int) -> None:
    """Write short texts into files of equal size: words of sentences, in lengths of sentences.

    Args:
        folder: Must not exist.
        sentences: The words and lengths are drawn from them.
        rows: The number of texts.
        files: The number of files.
    """
    chance = random.Random(SEED)  # noqa: S311 (chance, no secret)
    words = [word for sentence in sentences for word in sentence.split()]
    lengths = [len(sentence.split()) for sentence in sentences]
    folder.mkdir(parents=True)
    for number in range(files):
        start, end = rows * number // files, rows * (number + 1) // files
        counts = [chance.choice(lengths) for _ in range(start, end)]
        texts = [" ".join(chance.choices(words, k=count)) for count in counts]
        table = pa.table({"id": pa.array(range(start, end), pa.int64()), "text": texts})
        pq.write_table(table, folder / f"{number:03}.parquet")


@dataclass(frozen=True)
class Bench:
    """The things that all ways share.

    Attributes:
        artifact: The artifact.
        variant: Its variant.
        engine: Its engine.
        checkpoint: The same model, for sentence-transformers.
        cores: The number of cores, and of nodes.
        address: The address of the cluster; empty without one.
    """

    artifact: Path
    variant: str
    engine: str
    checkpoint: str
    cores: int
    address: str = ""

    def run(self, way: str, source: Path, output: Path) -> None:
        """Encode a folder into another one."""
        if way in ("local", "ray"):
            self._command(way, source, output)
            return
        import ray  # noqa: PLC0415 (an extra)

        ray.data.DataContext.get_current().enable_progress_bars = False
        # By itself Ray puts so small files into one block, which one worker alone encodes.
        files = len(list(source.iterdir()))
        dataset = ray.data.read_parquet(str(source), override_num_blocks=files)
        if way == "dataset":
            from lanner.distributed.ray import encode  # noqa: PLC0415 (an extra)

            encoder = ArrowEncoder(
                self.artifact, keep=["id"], variant=self.variant, engine=self.engine
            )
            encode(dataset, encoder).write_parquet(str(output))
            return
        model: Any = Plain, (str(self.artifact), self.variant, self.engine)
        if way == "sentence-transformers":
            model = PlainSentenceTransformers, (self.checkpoint,)
        worker, given = model
        diary = diary_of(output)
        diary.mkdir()
        # Reading needs a core, too: with a whole core for each worker, and a fixed number of them,
        # Ray would wait for ever.
        is_two = way == "plain-two"
        dataset.map_batches(
            worker,
            fn_constructor_args=(str(diary), *given),
            batch_size=PLAIN_ROWS,
            compute=ray.data.ActorPoolStrategy(
                min_size=self.cores if is_two else 1, max_size=self.cores
            ),
            num_cpus=0 if is_two else 1,
        ).write_parquet(str(output))

    def _command(self, way: str, source: Path, output: Path) -> None:
        on = f"ray={self.address}" if way == "ray" else "local"
        command = [sys.executable, "-m", "lanner", "encode", str(self.artifact), "--on", on]
        command += ["--input", str(source), "--output", str(output), "--id-column", "id"]
        command += ["--no-text", "--variant", self.variant, "--engine", self.engine]
        command += ["--threads", str(self.cores if way == "local" else 1)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            msg = f"{' '.join(command)} failed: {done.stderr.strip()}"
            raise BenchmarkError(msg)


@contextmanager
def cluster(nodes: int, idle_processes: int | None = None) -> Iterator[str]:
    """Yield the address of a cluster of nodes with one core each, on this machine."""
    import ray  # noqa: PLC0415 (an extra)
    from ray.cluster_utils import Cluster  # noqa: PLC0415

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    one = {"num_cpus": 1, "object_store_memory": _STORE_BYTES}
    head: dict[str, Any] = {
        **one,
        "include_dashboard": False,
    }
    if idle_processes is not None:
        head["_system_config"] = {"num_workers_soft_limit": idle_processes}
    found = Cluster(initialize_head=True, head_node_args=head)
    try:
        ray.init(address=found.address, log_to_driver=False, logging_level="ERROR")
        for _ in range(nodes - 1):
            found.add_node(**one)
        found.wait_for_nodes()
        yield str(found.address)
    finally:
        ray.shutdown()
        found.shutdown()


def diary_of(output: Path) -> Path:
    """Return the folder of the diaries of the workers that write an output."""
    return output.with_name(f"{output.name}-batches")


def is_worker(way: str, arguments: Sequence[str]) -> bool:
    """Return whether a process with such arguments encodes."""
    if way == "local":
        return "encode" in arguments[:4]
    return bool(arguments) and arguments[0].startswith(("ray::_encode", "ray::MapWorker"))


def timed(way: str, run: Callable[[], object], output: Path, cores: int) -> Timing:
    """Return the time that a way takes; remove its output."""
    diary = diary_of(output)
    for folder in (output, diary):
        shutil.rmtree(folder, ignore_errors=True)
    with watched(partial(is_worker, way)) as watch:
        begin_s = time.perf_counter()
        run()
        whole_s = time.perf_counter() - begin_s
    written = [
        Written(path.stat().st_mtime, pq.read_metadata(path).num_rows)
        for path in output.glob("*.parquet")
    ]
    shutil.rmtree(output)
    if diary.is_dir():
        written = Diary.read(diary)
        shutil.rmtree(diary)
    return Timing.of(written, whole_s, watch, cores)


def ratios(rounds: Sequence[Mapping[str, Timing]]) -> dict[str, dict[str, float]]:
    """Return how many times as fast `ray` is as the other ways: the median of the rounds."""
    found: dict[str, dict[str, float]] = {}
    for way in rounds[0]:
        pairs = [(one["ray"], one[way]) for one in rounds if "ray" in one and way in one]
        if way == "ray" or not pairs:
            continue
        found[way] = {"whole": statistics.median(a.rows_per_s / b.rows_per_s for a, b in pairs)}
        steady = [(a.steady_rows_per_s, b.steady_rows_per_s) for a, b in pairs]
        known = [a / b for a, b in steady if a is not None and b is not None]
        if known:
            found[way]["steady"] = statistics.median(known)
    return found


def texts_of(args: argparse.Namespace, way: str) -> int:
    """Return the number of texts of a way."""
    if way == "sentence-transformers":
        return int(args.few_texts)
    return int(args.texts if way in ("local", "ray") else args.plain_texts or args.texts)


def content_of(
    args: argparse.Namespace, source: str, starts_s: list[float], rounds: list[dict[str, Timing]]
) -> dict[str, Any]:
    """Return the result so far."""
    return {
        "machine": this_machine().to_json(),
        "versions": package_versions(
            "lanner", "lanner-native", "ray", "pyarrow", "sentence-transformers", "torch"
        ),
        "load_average": os.getloadavg(),
        "artifact": Artifact.open(args.artifact).manifest.name,
        "variant": args.variant,
        "engine": args.engine,
        "texts": {way: texts_of(args, way) for way in args.ways},
        "files": args.files,
        "words_of": source,
        "cores": available_cores(),
        "cluster_start_s": starts_s,
        "rounds": [{way: asdict(one) for way, one in found.items()} for found in rounds],
        "ray_beside": ratios(rounds),
        "asked": ASKED,
    }


def main(argv: list[str] | None = None) -> None:
    args = _parser().parse_args(argv)
    require_output_file(args.output)
    cores = available_cores()
    bench = Bench(args.artifact, args.variant, args.engine, args.checkpoint, cores)
    sentences = build_workloads(args.pairs)
    sources = {}
    for rows in sorted({texts_of(args, way) for way in args.ways}):
        sources[rows] = args.work / f"texts-{rows}-{args.files}"
        if not sources[rows].is_dir():
            write_texts(sources[rows], sentences.texts["short"], rows=rows, files=args.files)
    rounds: list[dict[str, Timing]] = []
    starts_s: list[float] = []
    with steps() as begin:
        for number in range(1, args.rounds + 1):
            found: dict[str, Timing] = {}
            rounds.append(found)

            def measure(way: str, at: Bench, found: dict[str, Timing] = found) -> None:
                begin(f"round {number}: {way}")  # noqa: B023 (called in this round)
                source, output = sources[texts_of(args, way)], args.work / "output"
                found[way] = timed(way, lambda: at.run(way, source, output), output, cores)
                begin(f"{way}: {found[way].rows_per_s:,.0f} texts a second")
                content = content_of(args, sentences.source, starts_s, rounds)
                with staged_file(args.output) as file:
                    file.write(json.dumps(content, indent=1).encode())

            if "local" in args.ways:
                measure("local", bench)
            others = [way for way in args.ways if way not in ("local", "ray")]
            for ways, idle in (
                (["ray"] if "ray" in args.ways else [], None),
                (others, _IDLE_PROCESSES),
            ):
                if not ways:
                    continue
                begin_s = time.perf_counter()
                with cluster(cores, idle) as address:
                    starts_s.append(time.perf_counter() - begin_s)
                    own = Bench(**{**vars(bench), "address": address})
                    for way in ways:
                        measure(way, own)
    print(json.dumps({"ray_beside": ratios(rounds)}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("artifact", type=Path)
    parser.add_argument("--checkpoint", required=True, help="the same for sentence-transformers")
    parser.add_argument("--output", type=Path, required=True, help="a .json file")
    parser.add_argument("--work", type=Path, required=True, help="a folder for the texts")
    parser.add_argument("--pairs", type=Path, help="the words are from its sentences")
    parser.add_argument("--variant", default="int8")
    parser.add_argument("--engine", default="native")
    parser.add_argument("--texts", type=positive, default=60_000)
    plain = "of the ways through Ray Data; by default as --texts"
    parser.add_argument("--plain-texts", type=positive, metavar="N", help=plain)
    few = "of sentence-transformers"
    parser.add_argument("--few-texts", type=positive, default=10_000, metavar="N", help=few)
    parser.add_argument("--files", type=positive, default=64)
    parser.add_argument("--rounds", type=positive, default=1)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    return parser


if __name__ == "__main__":
    main()
