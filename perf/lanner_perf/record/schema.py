"""The layout of a report: the keys of its JSON, with their content and units.

A row lacks the keys of a suite that was not requested, or in which its subject failed; `left_out`
gives the reason for a failure. Every figure is the median of its rounds. All rounds are kept, so
that their spread can be shown.
"""

from collections.abc import Iterable, Mapping
from typing import Any, NotRequired, TypedDict

#: Increase it when a reader of the older layout would misread the newer one.
SCHEMA = 2
#: All suites in the order in which they run. `Row` has the keys that each of them fills.
SUITES = (
    "memory",
    "latency",
    "throughput",
    "quality",
    "concurrency",
    "open_loop",
    "cold_start",
)
#: The main key of a row for the suites whose key is not their name. Some suites fill other keys
#: too.
_KEYS = {"latency": "latency_ms"}
#: The percentiles of a latency, in the order of its rounds.
PERCENTILES = (50, 90, 95, 99)


class Latency(TypedDict):
    """Milliseconds of a call with one text.

    Each of `rounds` holds the four percentiles in their order, and `calls` are those of one round.
    """

    p50: float
    p90: float
    p95: float
    p99: float
    calls: int
    rounds: list[list[float]]


class Overhead(TypedDict):
    """Milliseconds that a dispatcher adds to the bare engine's for one text of a single caller.

    Each of `rounds` is the median over its texts, and `p50` is the median of the rounds.
    """

    p50: float
    rounds: list[float]


class Throughput(TypedDict):
    """The speed of many texts in calls of `texts` each; `rounds` are texts per second."""

    texts_per_s: float
    tokens_per_s: float
    batch_size: int
    texts: int
    rounds: list[float]


class CallParts(TypedDict):
    """The time of a call to a server, in the four parts that `record.call_parts` defines.

    Attributes:
        client_ms: The client's part of a mean call.
        network_ms: The network's part.
        queue_ms: The part in the server's queue.
        compute_ms: The model's part.
        texts_per_request: The mean number of texts in a request of the client.
        texts_per_run: The mean batch of the model on the server; missing if it never ran.
        cached_percent: The share of requests that the server's response cache answered.
        other_requests: Requests of other clients meanwhile; the server's parts include them.
        server_cpu_ms: CPU time a text of the server's own process; missing if it is not visible.
        models_cpu_ms: CPU time a text of the processes that run its models.
    """

    client_ms: NotRequired[float]
    network_ms: NotRequired[float]
    queue_ms: NotRequired[float]
    compute_ms: NotRequired[float]
    texts_per_request: NotRequired[float]
    texts_per_run: NotRequired[float]
    cached_percent: NotRequired[float]
    other_requests: NotRequired[int]
    server_cpu_ms: NotRequired[float]
    models_cpu_ms: NotRequired[float]


class ConcurrencyRound(CallParts):
    """One round with a number of callers; a subject on a server also has the parts of a call.

    Attributes:
        texts_per_s: Calls answered a second, each with one text.
        p50_ms: The median time of a call.
        p90_ms: The 90th percentile.
        p99_ms: The 99th percentile.
        call_ms: The mean time of a call.
        cpu_ms: CPU time a text of the subject's own process.
        failed: Calls that raised an error.
    """

    texts_per_s: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    call_ms: NotRequired[float]
    cpu_ms: NotRequired[float]
    failed: int


class Concurrency(ConcurrencyRound):
    """Closed loop: each caller sends its next text when the last one is answered.

    `failed` and `other_requests` are sums over the rounds. `failure` is the message of the first
    call that failed.
    """

    failure: str
    rounds: list[ConcurrencyRound]


class OpenLoopRound(TypedDict):
    """One round of Poisson arrivals, whose latencies count from the scheduled arrival.

    Attributes:
        answered_per_s: Answers a second, until the last answer or the end of the arrivals.
        p50_ms: The median of all arrivals that were not refused or failed. If the round was cut
            short, an arrival without an answer counts with its waiting time: the percentiles are
            then lower bounds.
        p99_ms: See `p50_ms`.
        refused: Calls that were turned away because too much was waiting.
        failed: Calls that raised any other error.
        backlog: The most arrivals that were due and not yet answered at any time.
        is_cut_short: True if the subject fell so far behind that the round was ended.
    """

    answered_per_s: float
    p50_ms: float
    p99_ms: float
    refused: int
    failed: int
    backlog: int
    is_cut_short: bool


class OpenLoop(OpenLoopRound):
    """The medians of the rounds, their refused and failed calls, and True if any was cut short."""

    offered_per_s: float
    failure: str
    rounds: list[OpenLoopRound]


class ColdStart(TypedDict):
    """The start of a fresh process whose files are in the page cache.

    Each of `rounds` is import_s, load_s and first_answer_ms. If the suite was not requested, the
    only round is the start that preceded the other suites.
    """

    import_s: float
    load_s: float
    first_answer_ms: float
    rounds: list[list[float]]


class Memory(TypedDict):
    """Resident memory of the subject's process, in MB (a million bytes).

    Attributes:
        imported_mb: After the imports; None if the kind does not tell when they are done.
        loaded_mb: After loading, before the first answer.
        after_mb: After the workloads.
        peak_mb: The peak until then.
    """

    imported_mb: float | None
    loaded_mb: float
    after_mb: float
    peak_mb: float


class Quality(TypedDict):
    """The quality of the vectors of the short texts; the reference is the first subject.

    Attributes:
        cosine_min: Smallest cosine of a text's vector to that of the reference.
        cosine_mean: The mean of them.
        spearman: Correlation of the cosines of labelled pairs with their scores, x100.
        batch_independence_cosine: Smallest cosine of a text alone with itself in a batch.
    """

    cosine_min: float
    cosine_mean: float
    spearman: NotRequired[float]
    batch_independence_cosine: NotRequired[float]


class Row(TypedDict):
    """One subject. Keys such as "8" are numbers of tokens, callers or arrivals a second."""

    name: str
    kind: str
    environment: str
    engine: str
    precision: str
    model_bytes: int
    compute: NotRequired[str]
    token_budget: NotRequired[int]
    cold_start: ColdStart
    latency_ms: NotRequired[Latency]
    latency_by_length: NotRequired[dict[str, Latency]]
    dispatch_ms: NotRequired[Overhead]
    throughput: NotRequired[dict[str, Throughput]]
    throughput_by_length: NotRequired[dict[str, Throughput]]
    memory: NotRequired[Memory]
    concurrency: NotRequired[dict[str, Concurrency]]
    open_loop: NotRequired[dict[str, OpenLoop]]
    quality: NotRequired[Quality]


class LeftOut(TypedDict):
    """A subject that was not measured at all, or not in `suite`; or a length: "512 tokens"."""

    name: str
    reason: str
    suite: NotRequired[str]


class Workload(TypedDict):
    """The texts that the suites draw from; `Throughput` has the number that was timed."""

    texts: int
    tokens: int
    source: str


class ModelOnServer(TypedDict):
    """A model that was measured, as its configuration describes it.

    Attributes:
        name: Its name on the server.
        version: The version that answered.
        variant: The variant that runs.
        takes: "tokens" or "texts".
        backend: The backend of Triton.
        instances: The copies of it that run at once.
        max_batch_size: The most texts of a batch.
        has_cache: True if the server's response cache keeps its answers.
    """

    name: str
    version: str
    variant: str
    takes: str
    backend: str
    instances: int
    max_batch_size: int
    has_cache: bool


class Server(TypedDict):
    """The server whose models were measured.

    Attributes:
        version: The version of Triton.
        urls: The URLs of the server.
        is_here: True if the server is on this machine.
        models: The measured models.
        new_texts: True if no text was timed twice, except to measure the cache itself.
    """

    version: str
    urls: list[str]
    is_here: bool
    models: list[ModelOnServer]
    new_texts: bool


class Report(TypedDict):
    """A whole report.

    Attributes:
        schema: `SCHEMA`.
        created: The time in UTC, as ``2026-11-22T08:25:19Z``.
        machine: The fields of `lanner.machine.machine.Machine`.
        versions: The versions in the harness's own environment.
        environments: Versions by the name of an environment, as the rows give it.
        threads: Cores that each subject had, one subject at a time.
        rounds: Rounds of latency and throughput; the other suites store their own number.
        artifact: The name of the model.
        timed: The timed call, for people.
        workloads: "short" and "mixed".
        suites: The requested ones of `SUITES`.
        subjects: The subjects; the first is the reference.
        left_out: Subjects and suites that were not measured, with the reasons.
        random_batches: The batches for batch independence: their number, and the texts of each.
        seconds: The seconds that each suite took.
    """

    schema: int
    created: str
    machine: dict[str, Any]
    versions: dict[str, str]
    environments: dict[str, dict[str, str]]
    threads: int
    rounds: int
    artifact: str
    timed: str
    workloads: dict[str, Workload]
    suites: list[str]
    subjects: list[Row]
    left_out: list[LeftOut]
    random_batches: dict[str, int]
    seconds: dict[str, float]


def whole_rows(report: Mapping[str, Any], suites: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows of the subjects that all these suites measured."""
    keys = [_KEYS.get(suite, suite) for suite in suites]
    return [row for row in report["subjects"] if all(key in row for key in keys)]
