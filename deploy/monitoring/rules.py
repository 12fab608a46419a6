"""Write `rules.yml`: the recording rules and alerts of a service, for Prometheus.

    python deploy/monitoring/rules.py > deploy/monitoring/rules.yml

The windows of the error budget repeat one expression, so a program writes them. A test holds the
file to this program.
"""

import json
import sys
from collections.abc import Iterator

#: The share of requests that may fail: 99.9 % are answered.
BUDGET = 0.001
#: Requests of probes and people, which are no clients.
_CLIENTS = 'route!~"/metrics|/health|/ready|/v2/health/.*|/docs|/openapi.json"'
_RUNBOOK = "docs/guide/monitoring.md#"
_WINDOWS = ("5m", "30m", "1h", "6h")


def _sum(expression: str) -> str:
    """Return a sum by job that is 0 where the job has none of these series."""
    return f"(sum by (job) ({expression}) or 0 * sum by (job) (up))"


def recorded() -> Iterator[tuple[str, str]]:
    """Yield the name and the expression of each recording rule."""
    requests = f"lanner_requests_total{{{_CLIENTS}}}"
    failed = f'lanner_requests_total{{status=~"5..",{_CLIENTS}}}'
    refused = 'lanner_refusals_total{reason=~"overloaded|connections"}'
    yield "lanner:requests:rate5m", f"sum by (job) (rate({requests}[5m]))"
    for window in _WINDOWS:
        errors = f"{_sum(f'rate({failed}[{window}])')} + {_sum(f'rate({refused}[{window}])')}"
        yield (
            f"lanner:errors:ratio_rate{window}",
            f"({errors}) / (sum by (job) (rate({requests}[{window}])) > 0)",
        )
    for name, quantile in (("p50", 0.5), ("p99", 0.99)):
        buckets = f"lanner_request_duration_seconds_bucket{{{_CLIENTS}}}"
        yield (
            f"lanner:request_duration_seconds:{name}_5m",
            f"histogram_quantile({quantile}, sum by (job, le) (rate({buckets}[5m])))",
        )
    yield (
        "lanner:busy:ratio_rate5m",
        (
            "sum by (job, instance, model) (rate(lanner_busy_seconds_total[5m])) "
            "/ sum by (job, instance, model) (lanner_model_workers)"
        ),
    )
    yield (
        "lanner:queue_seconds:mean_rate5m",
        (
            'sum by (job, model) (rate(lanner_part_duration_seconds_sum{part="queue"}[5m])) '
            '/ sum by (job, model) (rate(lanner_part_duration_seconds_count{part="queue"}[5m]))'
        ),
    )


def _burns(short: str, long: str, factor: float) -> str:
    limit = f"{factor * BUDGET:g}"
    return f"lanner:errors:ratio_rate{long} > {limit} and lanner:errors:ratio_rate{short} > {limit}"


#: The alerts: name, expression, how long it must hold, severity and summary.
ALERTS: tuple[tuple[str, str, str, str, str], ...] = (
    (
        "LannerDown",
        'up{job="lanner"} == 0',
        "1m",
        "page",
        "{{ $labels.instance }} does not answer Prometheus.",
    ),
    (
        "LannerAbsent",
        'absent(up{job="lanner"})',
        "5m",
        "page",
        "Prometheus has no service of the job lanner.",
    ),
    (
        "LannerNoAnswers",
        (
            "sum by (job, instance) (lanner_requests_in_flight) > 1 unless sum by (job, instance) "
            f'(rate(lanner_requests_total{{status="200",{_CLIENTS}}}[2m])) > 0'
        ),
        "1m",
        "page",
        "{{ $labels.instance }} has requests and answers none.",
    ),
    (
        "LannerErrorBudgetBurnsFast",
        _burns("5m", "1h", 14.4),
        "2m",
        "page",
        (
            "{{ $value | humanizePercentage }} of the requests of {{ $labels.job }} fail: the "
            "error budget of a month lasts two days."
        ),
    ),
    (
        "LannerErrorBudgetBurns",
        _burns("30m", "6h", 6),
        "15m",
        "ticket",
        (
            "{{ $value | humanizePercentage }} of the requests of {{ $labels.job }} fail: the "
            "error budget of a month lasts five days."
        ),
    ),
    (
        "LannerQueueOld",
        "max by (job, instance) (lanner_queue_age_seconds) > 2",
        "1m",
        "page",
        "A request waits for {{ $value | humanizeDuration }} at {{ $labels.instance }}.",
    ),
    (
        "LannerQueueFull",
        (
            "sum by (job, instance) (lanner_queue_tokens) / sum by (job, instance) "
            "(lanner_queue_tokens_limit) > 0.8"
        ),
        "1m",
        "page",
        (
            "The queue of {{ $labels.instance }} is {{ $value | humanizePercentage }} full: soon "
            "it refuses requests."
        ),
    ),
    (
        "LannerSaturated",
        "lanner:busy:ratio_rate5m > 0.9",
        "15m",
        "ticket",
        (
            "{{ $labels.model }} of {{ $labels.instance }} is busy "
            "{{ $value | humanizePercentage }} of the time."
        ),
    ),
    (
        "LannerSlow",
        "lanner:request_duration_seconds:p99_5m > 1",
        "10m",
        "ticket",
        (
            "1 % of the requests of {{ $labels.job }} take longer than "
            "{{ $value | humanizeDuration }}."
        ),
    ),
    (
        "LannerMemoryGrows",
        (
            "deriv(process_resident_memory_bytes[6h]) * 86400 "
            "> 0.2 * process_resident_memory_bytes "
            "and on (job, instance) lanner_build_info "
            "and on (job, instance) (time() - process_start_time_seconds > 8 * 3600)"
        ),
        "1h",
        "ticket",
        "The memory of {{ $labels.instance }} grows by {{ $value | humanize1024 }}B a day.",
    ),
    (
        "LannerModelNotReady",
        "min by (job, instance, model) (lanner_model_ready) == 0",
        "1m",
        "page",
        "{{ $labels.model }} of {{ $labels.instance }} does not answer its probe.",
    ),
    (
        "LannerTritonDown",
        "min by (job, instance) (lanner_triton_up) == 0",
        "2m",
        "page",
        "The Triton server behind {{ $labels.instance }} does not answer.",
    ),
    (
        "LannerVectorsChanged",
        "max by (job, instance, model) (lanner_vectors_changed) == 1",
        "0m",
        "page",
        "{{ $labels.model }} of {{ $labels.instance }} answers known texts otherwise.",
    ),
    (
        "LannerCertificateExpires",
        (
            "min by (job, instance) (lanner_certificate_expiry_timestamp_seconds) - time() "
            "< 14 * 86400"
        ),
        "1h",
        "ticket",
        "The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}.",
    ),
    (
        "LannerCertificateExpiresSoon",
        "min by (job, instance) (lanner_certificate_expiry_timestamp_seconds) - time() < 2 * 86400",
        "5m",
        "page",
        "The certificate of {{ $labels.instance }} expires in {{ $value | humanizeDuration }}.",
    ),
    (
        "LannerKeyExpires",
        "min by (job, key) (lanner_key_expiry_timestamp_seconds) - time() < 7 * 86400",
        "1h",
        "ticket",
        "The key {{ $labels.key }} expires in {{ $value | humanizeDuration }}.",
    ),
)


def text() -> str:
    """Return the file. A string of JSON is one of YAML."""
    lines = [
        "# Written by rules.py in this folder. docs/guide/monitoring.md says what to do.",
        "groups:",
        "  - name: lanner-recorded",
        "    rules:",
    ]
    for name, expression in recorded():
        lines += [f"      - record: {name}", f"        expr: {json.dumps(expression)}"]
    lines += ["  - name: lanner-alerts", "    rules:"]
    for name, expression, holds, severity, summary in ALERTS:
        lines += [
            f"      - alert: {name}",
            f"        expr: {json.dumps(expression)}",
            f"        for: {holds}",
            "        labels:",
            f"          severity: {severity}",
            "        annotations:",
            f"          summary: {json.dumps(summary)}",
            f"          runbook: {_RUNBOOK}{name.lower()}",
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.stdout.write(text())
