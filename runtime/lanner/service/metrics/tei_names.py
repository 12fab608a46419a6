"""The names of metrics of Text Embeddings Inference (TEI), for dashboards that exist already."""

from lanner.monitoring import exposition
from lanner.monitoring import families as runtime
from lanner.monitoring.families import Family
from lanner.monitoring.record import Record
from lanner.service.metrics import families

#: Reasons of refusals in the words of TEI; others are validation errors.
_ERRORS = {
    "overloaded": "overloaded",
    "rate_limited": "overloaded",
    "connections": "overloaded",
    "backend": "inference",
    "unavailable": "unhealthy",
    "wrong_head": "backend",
    "empty": "empty",
}


def _alias(name: str, like: Family, labels: tuple[str, ...] = ()) -> Family:
    return Family(name, like.kind, f"TEI's name of {like.name}.", labels, like.limits)


_COUNT = _alias("te_request_count", families.REQUESTS)
_SUCCESS = _alias("te_request_success", families.REQUESTS)
_FAILURE = _alias("te_request_failure", families.REFUSALS, ("err",))
_QUEUE_SIZE = _alias("te_queue_size", families.QUEUE_REQUESTS)
#: The name, the histograms that are added up, and the value of their first label, or None for any.
_HISTOGRAMS: tuple[tuple[Family, Family, str | None], ...] = (
    (_alias("te_request_duration", families.REQUEST_SECONDS), families.REQUEST_SECONDS, None),
    *(
        (_alias(name, families.PART_SECONDS), families.PART_SECONDS, part)
        for name, part in (
            ("te_request_tokenization_duration", "tokenize"),
            ("te_request_queue_duration", "queue"),
            ("te_request_inference_duration", "model"),
        )
    ),
    (_alias("te_batch_next_size", runtime.BATCH_TEXTS), runtime.BATCH_TEXTS, None),
    (_alias("te_batch_next_tokens", runtime.BATCH_TOKENS), runtime.BATCH_TOKENS, None),
)
#: The families under the names of TEI.
FAMILIES = (_COUNT, _SUCCESS, _FAILURE, *(alias for alias, *_ in _HISTOGRAMS), _QUEUE_SIZE)


def tei_text(record: Record) -> str:
    """Return metrics under the names of TEI, all models and routes together."""
    found = Record()
    for (name, labels), number in record.counts.items():
        if name == families.REQUESTS.name and labels[1]:  # a request for a model
            found.add(_COUNT, number)
            found.add(_SUCCESS, number if labels[3] == "200" else 0)
        elif name == families.REFUSALS.name:
            found.add(_FAILURE, number, _ERRORS.get(labels[0], "validation"))
    for alias, like, first_label in _HISTOGRAMS:
        for (name, labels), one in record.distributions.items():
            if name == like.name and first_label in (None, labels[0]):
                before = found.distributions.get((alias.name, ()), [0.0] * len(one))
                added = [a + b for a, b in zip(before, one, strict=True)]
                found.distributions[alias.name, ()] = added
    found.set(_QUEUE_SIZE, record.gauges.get((families.QUEUE_REQUESTS.name, ()), 0.0))
    return exposition.text(found, FAMILIES)
