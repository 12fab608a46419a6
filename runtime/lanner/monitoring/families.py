"""Families of metrics: the name, kind, labels and meaning of each, and those of the runtime.

Every label has a closed list of values (models, routes, parts, statuses), so the number of series
is bounded by the configuration and not by the requests.
"""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """A family of metrics.

    Attributes:
        name: Its name; the name of a counter ends in ``_total``.
        kind: Its kind.
        meaning: One sentence for people.
        labels: The names of its labels.
        limits: The upper limits of a histogram's buckets, without infinity.
        merge: How the gauges of several processes become one.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    meaning: str
    labels: tuple[str, ...] = ()
    limits: tuple[float, ...] = ()
    merge: Literal["sum", "least", "most"] = "sum"


BATCH_TEXTS = Family(
    "lanner_batch_texts",
    "histogram",
    "Texts or pairs in a batch.",
    ("model",),
    (1, 2, 4, 8, 16, 32, 64, 128),
)
BATCH_TOKENS = Family(
    "lanner_batch_tokens",
    "histogram",
    "Tokens in a batch, without padding.",
    ("model",),
    (8, 16, 32, 64, 128, 256, 512, 1_024, 4_096, 16_384),
)
BATCH_SECONDS = Family(
    "lanner_batch_duration_seconds",
    "histogram",
    "Seconds that the engine took for a batch; on a Triton server with its queue.",
    ("model",),
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
)
BATCH_FAILURES = Family(
    "lanner_batch_failures_total", "counter", "Batches that the engine did not answer.", ("model",)
)
BUSY_SECONDS = Family(
    "lanner_busy_seconds_total",
    "counter",
    "Seconds in which workers of the model were busy, added up. A batch that takes the cores of "
    "all workers counts for all. Its rate divided by lanner_model_workers is the busy share.",
    ("model",),
)
MODEL_INFO = Family(
    "lanner_model_info",
    "gauge",
    "1 for each loaded model. version counts the artifacts that took over, or is the version on "
    "the Triton server; sha256 has the first 12 digits of the checksum of the model file.",
    ("model", "head", "variant", "precision", "engine", "version", "sha256"),
    merge="most",
)
MODEL_LOAD_SECONDS = Family(
    "lanner_model_load_seconds", "gauge", "Seconds that loading took.", ("model",), merge="most"
)
MODEL_WORKERS = Family(
    "lanner_model_workers",
    "gauge",
    "Batches of the model that can run at once: as a rule one for each core, on a Triton server "
    "one for each request at once.",
    ("model",),
)
MODEL_WORKERS_BUSY = Family(
    "lanner_model_workers_busy", "gauge", "Batches of the model that run now.", ("model",)
)
MODEL_WAITING = Family(
    "lanner_model_waiting_calls", "gauge", "Calls that wait for a worker.", ("model",)
)
MODEL_OLDEST_SECONDS = Family(
    "lanner_model_oldest_waiting_seconds",
    "gauge",
    "Seconds that the oldest waiting call has waited for a worker; 0 if none waits.",
    ("model",),
    merge="most",
)
#: The families of models, in a process of your own as in the service.
RUNTIME: tuple[Family, ...] = (
    MODEL_INFO,
    MODEL_LOAD_SECONDS,
    MODEL_WORKERS,
    MODEL_WORKERS_BUSY,
    MODEL_WAITING,
    MODEL_OLDEST_SECONDS,
    BATCH_TEXTS,
    BATCH_TOKENS,
    BATCH_SECONDS,
    BATCH_FAILURES,
    BUSY_SECONDS,
)
