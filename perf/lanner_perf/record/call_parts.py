"""The parts of the time of a call to a server.

The call of the caller and each request of the client are timed here. The server's own statistics
(extension_statistics.md of triton-inference-server/server) give the time of a request in its queue
and in the model. All figures are means, because means add up. They are means over requests, because
a server knows only those. A request may hold the texts of several callers. If requests with few
texts are held up, the client's part, a difference of two means, comes out too small.
"""

from lanner_perf.record.schema import CallParts
from lanner_perf.subjects.callers import Calls

#: Each part as a key of a round, with its explanation for people. The parts add up to the call.
PARTS = {
    "client_ms": "client: the time of a call outside of its request: tokenizing, waiting for a "
    "free request (few are sent at once), and handing the answer back",
    "network_ms": "network: the time of a request outside of queue and model: writing and reading "
    "messages at both ends, the transport, and the front end of the server",
    "queue_ms": "queue: the time that a request waits in the server until the model takes it",
    "compute_ms": "model: the time of a request in the model, with tokenizing if the server does "
    "that; each request of a batch counts the time of the whole batch",
}


def call_parts(calls: Calls, call_ms: float, answered: int) -> CallParts:
    """Return the parts of a mean call; empty for a subject without a server or without requests.

    Args:
        calls: A round of calls with one text each.
        call_ms: The mean milliseconds of a call.
        answered: The number of answered calls.
    """
    totals = calls.totals
    if totals is None or not totals.requests or not totals.served or not answered:
        return {}
    request_ms = 1e3 * totals.request_s / totals.requests
    queue_ms = 1e3 * totals.queue_s / totals.served
    compute_ms = 1e3 * totals.compute_s / totals.served
    parts: CallParts = {
        "client_ms": call_ms - request_ms,
        "network_ms": request_ms - queue_ms - compute_ms,
        "queue_ms": queue_ms,
        "compute_ms": compute_ms,
        "texts_per_request": answered / totals.requests,
        "cached_percent": 100 * totals.cached / totals.served,
        "other_requests": max(0, totals.served - totals.requests),
    }
    if totals.runs:
        parts["texts_per_run"] = totals.texts / totals.runs
    if totals.server_cpu_s is not None and totals.models_cpu_s is not None:
        parts["server_cpu_ms"] = 1e3 * totals.server_cpu_s / answered
        parts["models_cpu_ms"] = 1e3 * totals.models_cpu_s / answered
    return parts
