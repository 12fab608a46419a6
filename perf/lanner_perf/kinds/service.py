"""A service with OpenAI's API, over HTTP."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from lanner_perf.loading.loaded import Loaded, Start
from lanner_perf.subjects.embeddings_api import Endpoint, ask, ask_at_once, vectors_of

if TYPE_CHECKING:
    from lanner.vectors.similarity import Vectors

#: The most texts that OpenAI accepts in one request.
_MOST_TEXTS = 2_048


def load_service(path: str, options: Mapping[str, str], threads: int) -> Loaded:
    """Load a client of the service at the URL `path`, which ends with ``/v1``.

    `options` names the ``model``.
    """
    start = Start(options, threads)
    import numpy as np  # noqa: PLC0415

    start.imported()
    endpoint = Endpoint(path, options["model"])
    own = threading.local()
    start.loaded()

    def asked(texts: list[str]) -> Vectors:
        if not hasattr(own, "connection"):
            own.connection = endpoint.connect()
        return vectors_of(ask(own.connection, endpoint.request(texts)))

    def encode(texts: str | list[str], batch_size: int | None = None) -> Vectors:
        del batch_size  # the service chooses it
        if isinstance(texts, str):
            vector: Vectors = asked([texts])[0]
            return vector
        starts = range(0, len(texts), _MOST_TEXTS)
        return np.concatenate([asked(texts[start : start + _MOST_TEXTS]) for start in starts])

    def answer_many(texts: list[str], callers: int) -> list[float]:
        requests = [endpoint.request([text]) for text in texts]
        times = ask_at_once(endpoint, requests, callers)
        return [1e3 * (answered_s - sent_s) for sent_s, answered_s in times]

    facts = {"engine": "service", "precision": "as served", "model_bytes": 0}
    return start.done(encode, facts, answer_many)
