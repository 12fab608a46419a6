"""The families of metrics of the service, beside those of the runtime."""

from lanner.monitoring.families import RUNTIME, Family

#: The most keys that have names in metrics.
MOST_KEY_NAMES = 200

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_PART_SECONDS = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 10.0),
)

REQUESTS = Family(
    "lanner_requests_total",
    "counter",
    "Requests by their route, model, name of the key and status; 499 if the client left. The route "
    "is empty if there is none, the model if no model was found, the key if none was needed or "
    f"valid. Only the first {MOST_KEY_NAMES} keys have names here, others are 'other'.",
    ("route", "model", "key", "status"),
)
REQUEST_SECONDS = Family(
    "lanner_request_duration_seconds",
    "histogram",
    "Seconds from a request's head to its answer.",
    ("route",),
    _SECONDS,
)
PART_SECONDS = Family(
    "lanner_part_duration_seconds",
    "histogram",
    "Seconds of a request in each part of the work: read (the body arrives), decode (its JSON is "
    "parsed), mask, tokenize, queue (until its turn comes), model (inference) and encode (the "
    "answer is serialised).",
    ("part", "model"),
    _PART_SECONDS,
)
TEXTS = Family("lanner_texts_total", "counter", "Texts and pairs that were answered.", ("model",))
TOKENS = Family("lanner_tokens_total", "counter", "Tokens of these texts.", ("model",))
TRUNCATED = Family(
    "lanner_truncated_texts_total",
    "counter",
    "Texts that were cut to the model's limit.",
    ("model",),
)
MASKED = Family(
    "lanner_masked_total", "counter", "Personal data that was masked, by kind.", ("kind",)
)
MASKED_TEXTS = Family(
    "lanner_masked_texts_total", "counter", "Texts in which something was masked.", ("model",)
)
REFUSALS = Family(
    "lanner_refusals_total",
    "counter",
    "Requests and connections that were refused, by reason: the words of error codes, and for "
    "bytes that are no request: connections (too many), malformed, head_too_large, head_too_slow.",
    ("reason",),
)
QUEUE_TOKENS = Family(
    "lanner_queue_tokens", "gauge", "Tokens that were admitted and are not answered yet."
)
QUEUE_TOKENS_LIMIT = Family(
    "lanner_queue_tokens_limit", "gauge", "The most tokens that may wait (--max-queue-tokens)."
)
QUEUE_REQUESTS = Family(
    "lanner_queue_requests", "gauge", "Requests that wait for their turn at a model."
)
QUEUE_AGE = Family(
    "lanner_queue_age_seconds",
    "gauge",
    "Seconds that the oldest waiting request has waited; 0 if none waits.",
    merge="most",
)
IN_FLIGHT = Family("lanner_requests_in_flight", "gauge", "Requests that are being answered.")
BYTES_IN_FLIGHT = Family(
    "lanner_bytes_in_flight", "gauge", "Bytes of the bodies of these requests."
)
MODEL_READY = Family(
    "lanner_model_ready",
    "gauge",
    "1 if the model answered the last probe, 0 if it did not; of several processes the worst.",
    ("model",),
    merge="least",
)
CANARY_DIFFERENCE = Family(
    "lanner_canary_difference",
    "gauge",
    "The largest relative difference of an answer to a text of --canary from its known answer: "
    "length of the difference by length of the known answer. Rounding makes 1e-6.",
    ("model",),
    merge="most",
)
VECTORS_CHANGED = Family(
    "lanner_vectors_changed",
    "gauge",
    "1 if lanner_canary_difference is above 0.001: the model has other weights, another variant or "
    "another engine than the one whose answers are known.",
    ("model",),
    merge="most",
)
CERTIFICATE_EXPIRY = Family(
    "lanner_certificate_expiry_timestamp_seconds",
    "gauge",
    "Seconds since the epoch at which the first of the service's certificates expires.",
    merge="least",
)
KEY_EXPIRY = Family(
    "lanner_key_expiry_timestamp_seconds",
    "gauge",
    "Seconds since the epoch at which a key expires, for each of the 200 that expire next.",
    ("key",),
    merge="least",
)
TRITON_UP = Family(
    "lanner_triton_up",
    "gauge",
    "1 if the Triton server answered with its metrics, which then follow under its own names.",
)
WORKERS = Family("lanner_workers", "gauge", "Processes that serve.")
BUILD_INFO = Family(
    "lanner_build_info", "gauge", "1, with the version of Lanner.", ("version",), merge="most"
)
CPU_SECONDS = Family("process_cpu_seconds_total", "counter", "CPU seconds of all workers.")
RESIDENT = Family("process_resident_memory_bytes", "gauge", "Resident memory of all workers.")
VIRTUAL = Family("process_virtual_memory_bytes", "gauge", "Virtual memory of all workers.")
OPEN_FILES = Family("process_open_fds", "gauge", "Open file descriptors of all workers.")
MOST_FILES = Family(
    "process_max_fds", "gauge", "The most open file descriptors of a worker.", merge="least"
)
THREADS = Family("process_threads", "gauge", "Threads of all workers.")
START = Family(
    "process_start_time_seconds",
    "gauge",
    "Seconds since the epoch at which the oldest worker started.",
    merge="least",
)

SERVICE: tuple[Family, ...] = (
    REQUESTS,
    REQUEST_SECONDS,
    PART_SECONDS,
    TEXTS,
    TOKENS,
    TRUNCATED,
    MASKED,
    MASKED_TEXTS,
    REFUSALS,
    QUEUE_TOKENS,
    QUEUE_TOKENS_LIMIT,
    QUEUE_REQUESTS,
    QUEUE_AGE,
    IN_FLIGHT,
    BYTES_IN_FLIGHT,
    MODEL_READY,
    CANARY_DIFFERENCE,
    VECTORS_CHANGED,
    CERTIFICATE_EXPIRY,
    KEY_EXPIRY,
    WORKERS,
    BUILD_INFO,
    CPU_SECONDS,
    RESIDENT,
    VIRTUAL,
    OPEN_FILES,
    MOST_FILES,
    THREADS,
    START,
)
#: The families of `/metrics`, in their order; with a Triton server `TRITON_UP` follows.
FAMILIES: tuple[Family, ...] = (*SERVICE, *RUNTIME)
