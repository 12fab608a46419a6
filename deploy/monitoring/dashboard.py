"""Write `dashboard.json`: the Grafana dashboard of services.

    python deploy/monitoring/dashboard.py > deploy/monitoring/dashboard.json

A test runs every query on a real Prometheus that scraped a real service.
"""

import json
import sys
from typing import Any

_JOB = 'job="$job"'
_RATE = "[$__rate_interval]"


def _parts(field: str, quantile: float) -> str:
    return (
        f"histogram_quantile({quantile}, sum by (part, le) "
        f"(rate(lanner_part_duration_seconds_bucket{{{_JOB}}}{_RATE})))"
    )


#: Rows of panels: title, unit, and queries with their legends.
ROWS: dict[str, list[tuple[str, str, list[tuple[str, str]]]]] = {
    "Service": [
        ("Requests", "reqps", [
            (f"sum by (route) (rate(lanner_requests_total{{{_JOB}}}{_RATE}))", "{{route}}")]),
        ("Status", "reqps", [
            (f"sum by (status) (rate(lanner_requests_total{{{_JOB}}}{_RATE}))", "{{status}}")]),
        ("Share of failed requests", "percentunit", [
            (f"lanner:errors:ratio_rate5m{{{_JOB}}}", "5 minutes"),
            (f"lanner:errors:ratio_rate1h{{{_JOB}}}", "1 hour")]),
        ("Time of requests", "s", [
            (f"lanner:request_duration_seconds:p50_5m{{{_JOB}}}", "p50"),
            (f"lanner:request_duration_seconds:p99_5m{{{_JOB}}}", "p99")]),
        ("Time of each part, p99", "s", [(_parts("part", 0.99), "{{part}}")]),
        ("Refusals", "reqps", [
            (f"sum by (reason) (rate(lanner_refusals_total{{{_JOB}}}{_RATE}))", "{{reason}}")]),
        ("Requests by key", "reqps", [
            (f"sum by (key) (rate(lanner_requests_total{{{_JOB}}}{_RATE}))", "{{key}}")]),
        ("Ready models", "short", [
            (f"min by (model, instance) (lanner_model_ready{{{_JOB}}})",
             "{{model}} {{instance}}")]),
    ],
    "Models": [
        ("Loaded", "short", [
            (f"max by (model, variant, engine, version, sha256) (lanner_model_info{{{_JOB}}})",
             "{{model}} {{variant}} {{engine}} version {{version}} {{sha256}}")]),
        ("Texts", "short", [
            (f"sum by (model) (rate(lanner_texts_total{{{_JOB}}}{_RATE}))", "{{model}}")]),
        ("Tokens", "short", [
            (f"sum by (model) (rate(lanner_tokens_total{{{_JOB}}}{_RATE}))", "{{model}}")]),
        ("Texts in a batch, mean", "short", [
            ((f"sum by (model) (rate(lanner_batch_texts_sum{{{_JOB}}}{_RATE})) / "
             f"sum by (model) (rate(lanner_batch_texts_count{{{_JOB}}}{_RATE}))"), "{{model}}")]),
        ("Tokens in a batch, mean", "short", [
            ((f"sum by (model) (rate(lanner_batch_tokens_sum{{{_JOB}}}{_RATE})) / "
             f"sum by (model) (rate(lanner_batch_tokens_count{{{_JOB}}}{_RATE}))"), "{{model}}")]),
        ("Time of a batch, p99", "s", [
            (("histogram_quantile(0.99, sum by (model, le) "
             f"(rate(lanner_batch_duration_seconds_bucket{{{_JOB}}}{_RATE})))"), "{{model}}")]),
        ("Share of texts that were cut", "percentunit", [
            ((f"sum by (model) (rate(lanner_truncated_texts_total{{{_JOB}}}{_RATE})) / "
             f"sum by (model) (rate(lanner_texts_total{{{_JOB}}}{_RATE}))"), "{{model}}")]),
        ("Canary: difference from known answers", "short", [
            (f"max by (model, instance) (lanner_canary_difference{{{_JOB}}})",
             "{{model}} {{instance}}")]),
    ],
    "Capacity": [
        ("Busy share of the workers", "percentunit", [
            (f"lanner:busy:ratio_rate5m{{{_JOB}}}", "{{model}} {{instance}}")]),
        ("Age of the oldest waiting request", "s", [
            (f"max by (instance) (lanner_queue_age_seconds{{{_JOB}}})", "{{instance}}")]),
        ("Waiting requests", "short", [
            (f"sum by (instance) (lanner_queue_requests{{{_JOB}}})", "{{instance}}")]),
        ("Fill of the queue", "percentunit", [
            ((f"sum by (instance) (lanner_queue_tokens{{{_JOB}}}) / "
             f"sum by (instance) (lanner_queue_tokens_limit{{{_JOB}}})"), "{{instance}}")]),
        ("CPU cores", "short", [
            (f"rate(process_cpu_seconds_total{{{_JOB}}}{_RATE})", "{{instance}}")]),
        ("Memory", "bytes", [(f"process_resident_memory_bytes{{{_JOB}}}", "{{instance}}")]),
        ("Worker processes", "short", [(f"sum by (instance) (lanner_workers{{{_JOB}}})",
                                        "{{instance}}")]),
    ],
}  # fmt: skip
_SOURCE = {"type": "prometheus", "uid": "${source}"}


def _panel(number: int, place: dict[str, int], title: str, unit: str, queries: Any) -> Any:
    targets = [
        {"refId": chr(65 + index), "datasource": _SOURCE, "expr": query, "legendFormat": legend}
        for index, (query, legend) in enumerate(queries)
    ]
    defaults = {"unit": unit, "min": 0, "custom": {"fillOpacity": 10, "showPoints": "never"}}
    return {
        "id": number,
        "type": "timeseries",
        "title": title,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}},
        "targets": targets,
    }


def dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    panels: list[Any] = []
    top = 0
    for row, found in ROWS.items():
        place = {"x": 0, "y": top, "w": 24, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row, "gridPos": place})
        top += 1
        for index, (title, unit, queries) in enumerate(found):
            place = {"x": index % 3 * 8, "y": top + index // 3 * 8, "w": 8, "h": 8}
            panels.append(_panel(len(panels) + 1, place, title, unit, queries))
        top += -(-len(found) // 3) * 8
    variables = [
        {"name": "source", "label": "Data source", "type": "datasource", "query": "prometheus"},
        {
            "name": "job",
            "label": "Job",
            "type": "query",
            "datasource": _SOURCE,
            "query": "label_values(lanner_build_info, job)",
            "refresh": 2,
        },
    ]
    return {
        "uid": "lanner",
        "title": "Lanner",
        "tags": ["lanner"],
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": variables},
        "panels": panels,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(dashboard(), indent=2) + "\n")
