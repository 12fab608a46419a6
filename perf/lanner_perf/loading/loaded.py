"""A subject that is ready to answer, and the time that its start took."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lanner_perf.subjects.resident import resident_mb

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors
    from lanner_perf.subjects.totals import Totals

Encode = Callable[..., "Vectors"]
#: Takes texts and a number of callers; returns the milliseconds of each call.
AnswerMany = Callable[[list[str], int], list[float]]
#: Takes a text; returns two calls with its tokens: one through the subject's dispatcher, and one of
#: the bare engine.
Dispatch = Callable[[str], tuple[Callable[[], object], Callable[[], object]]]
#: What the environments of the peers are made with.
_REQUIREMENTS = Path(__file__).parents[1] / "peers" / "requirements"
#: Distributions whose versions a report names, besides those of `_REQUIREMENTS`.
_OTHERS = (
    "grpcio",
    "lanner",
    "nncf",
    "numpy",
    "openvino",
    "optimum",
    "optimum-intel",
    "optimum-onnx",
    "tokenizers",
    "transformers",
    "tritonclient",
)


def _required() -> Iterator[str]:
    for file in _REQUIREMENTS.glob("*.in"):
        for line in file.read_text(encoding="utf-8").split():
            yield re.split(r"[^\w.-]", line, maxsplit=1)[0]


#: Distributions whose versions a report names.
PACKAGES = tuple(sorted({*_OTHERS, *_required()}))


class Loaded(NamedTuple):
    """A subject that is ready to answer.

    Attributes:
        encode: Takes one text or several, and `batch_size`; returns vectors.
        import_s: The seconds of the imports.
        load_s: The seconds of loading, after the imports.
        facts: The subject's properties for the report; `model_bytes` is the size of its model's
            files.
        versions: The versions of those of `PACKAGES` that its environment has.
        imported_mb: Resident memory after the imports in MB, if it was read.
        answer_many: The subject's own way to serve several callers at once, each with one text a
            call; None to use threads that call `encode`.
        dispatch: Returns the calls of a text with and without the dispatcher; None if the subject
            has no dispatcher.
        totals: Counts the work of the client and the server so far; None without a server.
    """

    encode: Encode
    import_s: float
    load_s: float
    facts: dict[str, Any]
    versions: dict[str, str]
    imported_mb: float | None = None
    answer_many: AnswerMany | None = None
    dispatch: Dispatch | None = None
    totals: Callable[[], Totals] | None = None


class Start:
    """The stopwatch of a start, which begins before the first import.

    Creating it sets environment variables before a library reads them. They bound the threads of
    OpenMP and forbid downloads and telemetry. If `options` has a ``cache``, libraries cache only
    there.
    """

    def __init__(self, options: Mapping[str, str], threads: int) -> None:
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(threads)
        os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")
        if "cache" in options:
            os.environ["HF_HOME"] = options["cache"]
        self._begin_s = time.perf_counter()
        self._imported_s = self._loaded_s = self._begin_s
        self._imported_mb = 0.0

    def imported(self) -> None:
        """Note that the imports are done."""
        self._imported_s, self._imported_mb = time.perf_counter(), resident_mb()

    def loaded(self) -> None:
        """Note that the model is loaded; nothing after this call is timed."""
        self._loaded_s = time.perf_counter()

    def done(
        self, encode: Encode, facts: dict[str, Any], answer_many: AnswerMany | None = None
    ) -> Loaded:
        """Return the subject with the times so far."""
        return Loaded(
            encode,
            self._imported_s - self._begin_s,
            self._loaded_s - self._imported_s,
            facts,
            _versions(),
            self._imported_mb,
            answer_many,
        )


def size_of(*files: Path) -> int:
    """Return the sum of the files' sizes in bytes."""
    return sum(file.stat().st_size for file in files)


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
