"""The answers of TEI that belong to no route: refusals, times, the description of a model."""

import math
import time

from lanner._version import __version__
from lanner.service.core.exchange import Request, Response
from lanner.service.core.pipeline import Pipeline
from lanner.service.core.refusal import Kind, Refusal
from lanner.service.core.served import ServedModel
from lanner.service.core.vectors import to_json
from lanner.service.dialects.dialect import refusal_headers

#: The status and type of error of each kind; others are validation errors with their own status.
_ERRORS = {
    Kind.EMPTY: (400, "Empty"),
    Kind.INVALID: (422, "Validation"),
    Kind.TOO_LONG: (422, "Validation"),
    Kind.WRONG_HEAD: (424, "Backend"),
    Kind.RATE_LIMITED: (429, "Overloaded"),
    Kind.OVERLOADED: (429, "Overloaded"),
    Kind.BACKEND: (424, "Backend"),
    Kind.UNAVAILABLE: (503, "Unhealthy"),
}


def refuse(refusal: Refusal) -> Response:
    """Return a refusal in the shape of TEI."""
    status, kind = _ERRORS.get(refusal.kind, (refusal.kind.status, "Validation"))
    content = {"error": refusal.message, "error_type": kind}
    return Response(to_json(content), status, headers=refusal_headers(refusal))


def add_times(request: Request, answer: Response) -> None:
    """Add TEI's headers with times in whole milliseconds, and with counts."""
    parts = request.parts_ms
    total_ms = (time.perf_counter() - request.start_s) * 1e3
    answer.headers |= {
        "x-compute-type": "cpu",
        "x-compute-time": str(math.ceil(sum(parts.values()))),
        "x-compute-tokens": str(request.tokens),
        "x-total-time": str(math.ceil(total_ms)),
        "x-tokenization-time": str(math.ceil(parts.get("tokenize", 0.0))),
        "x-queue-time": str(int(parts.get("queue", 0.0))),
        "x-inference-time": str(math.ceil(parts.get("model", 0.0))),
    }


def info(served: ServedModel, pipeline: Pipeline) -> dict[str, object]:
    """Return the description of a model and of the service."""
    manifest = served.manifest
    labels = {str(number): label for number, label in enumerate(manifest.labels)}
    classifier = {
        "id2label": labels,
        "label2id": {label: int(number) for number, label in labels.items()},
    }
    kinds: dict[str, dict[str, object]] = {
        "embed": {"embedding": {"pooling": "mean"}},
        "sparse": {"embedding": {"pooling": "splade"}},
        "tokens": {"embedding": {"pooling": "none"}},
        "score": {"reranker": classifier},
    }
    limits = pipeline.limits
    return {
        "model_id": manifest.name,
        "model_sha": None,
        "model_dtype": served.model.variant.precision,
        "served_model_name": served.name,
        "model_type": kinds.get(served.head, {"classifier": classifier}),
        "max_concurrent_requests": pipeline.queue.most_tokens,
        "max_input_length": manifest.tokenizer.max_tokens or limits.most_characters,
        "max_batch_tokens": served.model.runner.token_budget,
        "max_batch_requests": None,
        "max_client_batch_size": limits.most_texts,
        "auto_truncate": limits.cuts,
        "tokenization_workers": served.model.runner.workers,
        "version": __version__,
        "sha": None,
        "docker_label": None,
    }
