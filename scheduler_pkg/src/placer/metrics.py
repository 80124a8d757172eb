"""Metrics of the decision and claim path. Labels are cells and outcomes, never ids."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

lwt_seconds = Histogram(
    "placer_lwt_duration_seconds", "One lightweight transaction.", ["cell"], buckets=_SECONDS
)
lwt_unknown = Counter("placer_lwt_unknown_total", "LWTs whose answer was lost.", ["cell"])
claim_conflicts = Counter(
    "placer_claim_conflicts_total", "LWTs that lost, by what was heard.", ["cell", "outcome"]
)
store_in_flight = Gauge(
    "placer_store_statements_in_flight",
    "Statements under way, of at most store.inflight_max.",
    ["cell"],
)
store_overloaded = Counter(
    "placer_store_overloaded_total", "Statements not sent: too many were under way.", ["cell"]
)
group_size = Histogram(
    "placer_group_size",
    "Operations that rode in one LWT.",
    ["cell"],
    buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
)
host_queue_full = Counter("placer_host_queue_full_total", "Operations refused: host queue full.")
views_dropped = Counter("placer_views_dropped_total", "Views not written: too many wait.", ["cell"])
list_queue_full = Counter(
    "placer_list_queue_full_total", "Changes of instances refused: too many wait to be listed."
)
webhook_calls = Counter(
    "placer_webhook_calls_total",
    "Events posted to webhooks: taken, refused, or given up.",
    ["outcome"],
)
decisions = Counter("placer_decisions_total", "Requests decided, by outcome.", ["cell", "outcome"])
claim_seconds = Histogram(
    "placer_claim_duration_seconds", "A claim, to its answer.", ["cell"], buckets=_SECONDS
)
background_dropped = Counter(
    "placer_background_dropped_total", "Fire-and-forget work refused at its bound.", ["kind"]
)
writesets = Counter(
    "placer_write_sets_total", "Changes of several rows, by outcome.", ["cell", "outcome"]
)
writeset_seconds = Histogram(
    "placer_write_set_duration_seconds",
    "A change of several rows, to its answer.",
    ["cell"],
    buckets=_SECONDS,
)
recovered = Counter(
    "placer_recovered_total", "What recovery finished for others, by kind.", ["cell", "what"]
)
outcomes_lost = Counter(
    "placer_outcomes_lost_total", "Decisions whose request somebody else had changed meanwhile."
)
resumed = Counter("placer_requests_resumed_total", "Requests taken over from a silent process.")
agents_refused = Counter(
    "placer_agents_refused_total",
    "Agents sent away, at the TLS handshake, for their certificate, at their hello or for a message.",
    ["cell", "stage"],
)
host_writes = Counter(
    "placer_host_writes_total",
    "Rows to be written because an agent reported something new or left; idle hosts write none.",
    ["cell", "cause"],
)
