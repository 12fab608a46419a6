"""The common result of all kinds: a subject that is ready, and its loading time."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from lanner_perf.subjects.resident import resident_mb

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors
    from lanner_perf.subjects.totals import Totals

Encode = Callable[..., "Vectors"]
#: Texts and callers to the milliseconds of each call.
AnswerMany = Callable[[list[str], int], list[float]]
#: A text to two calls with its tokens: through the subject's dispatcher, and of its bare engine.
Dispatch = Callable[[str], tuple[Callable[[], object], Callable[[], object]]]
#: Distributions whose versions a report names.
PACKAGES = (
    "ctranslate2",
    "fastembed",
    "grpcio",
    "infinity_emb",
    "lanner",
    "light-embed",
    "nncf",
    "numpy",
    "onnxruntime",
    "openvino",
    "optimum",
    "optimum-intel",
    "optimum-onnx",
    "sentence-transformers",
    "tokenizers",
    "torch",
    "transformers",
    "tritonclient",
)


class Loaded(NamedTuple):
    """A subject that is ready to answer.

    Attributes:
        encode: Texts, or one, to vectors; takes `batch_size`.
        import_s: The seconds of the imports.
        load_s: The seconds of loading, after the imports.
        facts: Its properties for the report; `model_bytes` is the size of its model's files.
        versions: The versions of those of `PACKAGES` that its environment has.
        imported_mb: Resident memory after the imports, if it was read.
        answer_many: Its own way to serve several callers at once, each with one text a call; None
            for threads that call `encode`.
        dispatch: Returns the calls of a text with and without its dispatcher; None if it has none.
        totals: Counts what its client and its server have done so far; None without a server.
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
    """Takes the time of a start, from before the first import on.

    What is read from the process's environment is set here, before a library reads it: the threads
    of OpenMP, and that nothing is fetched, cached outside of `options`' ``cache`` or reported home.
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
        """The imports are done."""
        self._imported_s, self._imported_mb = time.perf_counter(), resident_mb()

    def loaded(self) -> None:
        """Note that the model is loaded; nothing after this call is timed."""
        self._loaded_s = time.perf_counter()

    def done(
        self, encode: Encode, facts: dict[str, Any], answer_many: AnswerMany | None = None
    ) -> Loaded:
        """The subject."""
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
    """Bytes of all of them."""
    return sum(file.stat().st_size for file in files)


def _versions() -> dict[str, str]:
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed
