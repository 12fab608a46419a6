"""What is measured. Each subject lives in a process of its own, and idles while others run.

So no subject shares threads, caches of the allocator or imports with another, and rounds of
different subjects can be interleaved. This module itself imports nothing but the standard library:
what a subject's process holds is the subject's.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from lanner.similarity import Vectors

Encode = Callable[..., "Vectors"]
WARM_UP_TEXTS = 64


class SubjectError(Exception):
    """A subject could not start, failed or went away."""


@dataclass(frozen=True)
class Spec:
    """One thing to measure.

    Attributes:
        name: How the tables name it.
        kind: ``"lanner"`` or ``"sentence-transformers"``.
        path: The artifact or the checkpoint.
        variant: The variant of an artifact; ignored otherwise.
    """

    name: str
    kind: str
    path: str
    variant: str = ""


@dataclass(frozen=True)
class Started:
    """What starting a subject took, and what it says of itself."""

    import_s: float
    load_s: float
    first_answer_ms: float
    facts: dict[str, Any]


class Subject:
    """A running subject; a context manager that ends its process."""

    def __init__(self, spec: Spec, threads: int) -> None:
        self.spec = spec
        self.batch_size = 32
        self._connection, theirs = Pipe()
        # Not multiprocessing's own start: it would import the harness into the subject.
        program = f"from perf.subjects import serve; serve({theirs.fileno()})"
        command = [sys.executable, "-c", program]
        self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
        theirs.close()
        self._connection.send((spec, threads))
        self.started: Started = self._receive()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def encode(self, texts: list[str], batch_size: int | None = None) -> tuple[float, Vectors]:
        """Encodes all texts in one call; seconds and vectors."""
        self._connection.send(("encode", texts, batch_size or self.batch_size))
        seconds, vectors = self._receive()
        return seconds, vectors

    def latencies_ms(self, texts: list[str]) -> list[float]:
        """Encodes the texts one call each; milliseconds of each call."""
        self._connection.send(("latencies", texts, 1))
        latencies: list[float] = self._receive()
        return latencies

    def peak_rss_mb(self) -> float:
        """The most memory that the process has had so far."""
        self._connection.send(("rss", [], 1))
        return float(self._receive())

    def _receive(self) -> Any:
        try:
            answer = self._connection.recv()
        except EOFError:
            msg = f"{self.spec.name} ended unexpectedly; its own output says why"
            raise SubjectError(msg) from None
        if isinstance(answer, SubjectError):
            raise answer
        return answer


def serve(file_descriptor: int) -> None:
    """The subject's side: starts what it is told to, and answers until the harness goes."""
    connection: Connection = Connection(file_descriptor)
    spec, threads = connection.recv()
    try:
        encode, started = _start(spec, threads)
        connection.send(started)
        while True:
            command, texts, batch_size = connection.recv()
            if command == "encode":
                begin = time.perf_counter()
                vectors = encode(texts, batch_size=batch_size)
                connection.send((time.perf_counter() - begin, vectors))
            elif command == "latencies":
                connection.send([_milliseconds(partial(encode, text)) for text in texts])
            else:
                connection.send(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3)
    except EOFError:
        pass  # the harness closed its end
    except Exception as error:  # noqa: BLE001 (handed to the harness, which raises it)
        what = " ".join(f"{type(error).__name__}: {error}".split())
        connection.send(SubjectError(f"{spec.name} on {spec.path}: {what}"))


def _start(spec: Spec, threads: int) -> tuple[Encode, Started]:
    start = {"lanner": _start_lanner, "sentence-transformers": _start_sentence_transformers}
    encode, import_s, load_s, facts = start[spec.kind](spec, threads)
    first_answer_ms = _milliseconds(partial(encode, "How fast is the first answer?"))
    return encode, Started(import_s, load_s, first_answer_ms, facts)


def _start_lanner(spec: Spec, threads: int) -> tuple[Encode, float, float, dict[str, Any]]:
    begin = time.perf_counter()
    import lanner  # noqa: PLC0415 (its import is what is timed)

    imported = time.perf_counter()
    model = lanner.load(spec.path, variant=spec.variant, threads=threads)
    loaded = time.perf_counter()
    facts = {
        "engine": model.runner.engine.name,
        "precision": model.variant.precision,
        "token_budget": model.runner.token_budget,
    }
    return model.encode, imported - begin, loaded - imported, facts


def _start_sentence_transformers(
    spec: Spec, threads: int
) -> tuple[Encode, float, float, dict[str, Any]]:
    begin = time.perf_counter()
    import torch  # noqa: PLC0415
    from sentence_transformers import SentenceTransformer  # noqa: PLC0415
    from transformers.utils import logging  # noqa: PLC0415

    logging.disable_progress_bar()  # it would write into the harness's own
    imported = time.perf_counter()
    torch.set_num_threads(threads)
    model = SentenceTransformer(spec.path, device="cpu")
    loaded = time.perf_counter()
    facts = {"engine": "torch", "precision": str(next(model.parameters()).dtype).split(".")[-1]}

    def encode(texts: str | list[str], batch_size: int = 32) -> Vectors:
        vectors: Vectors = model.encode(texts, batch_size=batch_size, show_progress_bar=False)
        return vectors

    return encode, imported - begin, loaded - imported, facts


def _milliseconds(call: Callable[[], object]) -> float:
    begin = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - begin)
