"""Answers of int8 on this processor, or on one that an emulator provides.

    qemu-x86_64 -cpu Haswell python -m tests.support.int8_answers JOBS.json ANSWERS.npz

It needs only the runtime: an emulator would take a minute to import onnx or torch.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lanner.engines import find_engine, open_engine
from lanner.errors import LannerError
from lanner.loading.load import load
from lanner.machine.machine import this_machine
from lanner.models.answers import rows

#: Texts of unequal lengths, in words of the tiny checkpoints' tokenizers.
TEXTS = ("a man is playing a guitar", "the", "a woman plays the guitar and a man is eating food")


class Job(NamedTuple):
    """One artifact, or a bare graph.

    Attributes:
        name: The name of its answers.
        path: An artifact's directory, or an ONNX file with the input `x`.
        engine: The engine.
        threads: Cores to use.
        feed: The input of a bare graph.
    """

    name: str
    path: str
    engine: str = "onnxruntime"
    threads: int = 1
    feed: Sequence[Sequence[float]] = ()


def answers(job: Job) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Yield the answers of a job; for an artifact, one text at a time and all in one batch."""
    if job.feed:
        engine = open_engine(job.engine, Path(job.path), precision="int8", threads=job.threads)
        yield "alone", engine.run({"x": np.array(job.feed, np.float32)})
        return
    model = load(job.path, variant="int8", engine=job.engine, threads=job.threads)
    inputs = [(text, TEXTS[0]) for text in TEXTS] if model.manifest.head == "score" else TEXTS
    yield "alone", rows(model, inputs, batch_size=1)
    yield "together", rows(model, inputs, batch_size=len(inputs))
    variant, engine_record = model.manifest.variant("int8"), find_engine(job.engine)
    assert variant is not None
    assert engine_record is not None
    promised = not engine_record.batch_dependence(variant)
    yield "promised", np.array(promised, np.float32)


def all_answers(jobs: Sequence[Job]) -> dict[str, NDArray[np.float32]]:
    """Return the answers of all jobs by name; for a job that fails, its error."""
    found: dict[str, NDArray[np.float32]] = {}
    for job in jobs:
        try:
            found |= {f"{job.name} {what}": answer for what, answer in answers(job)}
        except LannerError as error:
            found[f"{job.name} error"] = np.array(str(error))
    return found


def main(jobs: Path, output: Path) -> None:
    """Run the jobs of one file, and write their answers to another."""
    read = [Job(**job) for job in json.loads(jobs.read_text(encoding="utf-8"))]
    flags = np.array(this_machine().cpu_flags, dtype=np.str_)
    np.savez(output, flags=flags, allow_pickle=False, **all_answers(read))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
