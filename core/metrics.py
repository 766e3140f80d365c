"""What is counted, in Prometheus form. Counters live in the process, gauges are read at scrape."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

registry = CollectorRegistry()

events = Counter(
    "taem_events", "LINE events by type and outcome", ["type", "outcome"], registry=registry
)
intake = Counter("taem_intake", "Webhook requests by answer", ["status"], registry=registry)
calls = Counter(
    "taem_calls", "LINE requests by kind and outcome", ["kind", "outcome"], registry=registry
)
job_runs = Counter(
    "taem_job_runs", "Occurrences of jobs by outcome", ["job", "outcome"], registry=registry
)
queue_length = Gauge("taem_queue_length", "Rows waiting", ["queue"], registry=registry)
queue_age_seconds = Gauge(
    "taem_queue_age_seconds", "Age of the oldest row that is due", ["queue"], registry=registry
)
quota_limit = Gauge("taem_line_quota_limit", "Messages a month by plan", registry=registry)
quota_used = Gauge("taem_line_quota_used", "Messages used this month", registry=registry)


def text() -> bytes:
    """Every figure in the Prometheus text format."""
    return generate_latest(registry)
