"""Writes the Grafana dashboards in charts/chaski/files/dashboards from the panels defined here: `python hack/dashboards.py`.

The JSON of a dashboard is long and repetitive; a test compares the files with this source.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "charts" / "chaski" / "files" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
COLUMNS = 24

# Workers and the operator both export the counts of a queue, so queries take the maximum of each queue before they add.
ROUTE = 'namespace=~"$namespace",route=~"$route"'
TARGET = f'{ROUTE},target=~"$target"'


@dataclass(frozen=True)
class Panel:
    """One panel: its queries and its size in grid units."""

    title: str
    queries: Sequence[tuple[str, str]]  # expression, legend
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 7
    about: str = ""
    stack: bool = False
    warn: float | None = None  # threshold from which a stat is red


@dataclass(frozen=True)
class Row:
    """The panels under one heading."""

    title: str
    panels: Sequence[Panel]


def summed(by: str) -> str:
    """A sum by these labels, or over all."""
    return f"sum by ({by}) " if by else "sum"


def messages(selector: str = "", by: str = "namespace, route") -> str:
    """Messages in queues, by labels."""
    return f"{summed(by)}(max by (namespace, route, queue, state) (chaski_queue_messages{{{selector}}}))"


def age(selector: str = "") -> str:
    """Age of the oldest message by queue."""
    return f"max by (namespace, route, queue) (chaski_queue_oldest_message_age_seconds{{{selector}}})"


def per_second(metric: str, selector: str = "", by: str = "namespace, route") -> str:
    """The rate of a counter, by labels."""
    return f"{summed(by)}(rate({metric}{{{selector}}}[$__rate_interval]))"


def quantiles(histogram: str, selector: str = "", extra: str = "") -> list[tuple[str, str]]:
    """Median, 95th and 99th percentile of a histogram."""
    labels = f"le, {extra}" if extra else "le"
    return [
        (
            f"histogram_quantile({q}, {per_second(f'{histogram}_bucket', selector, labels)})",
            f"{{{{{extra}}}}} p{p}".strip() if extra else f"p{p}",
        )
        for q, p in ((0.5, 50), (0.95, 95), (0.99, 99))
    ]


def or_zero(expression: str) -> str:
    """The expression, or zero if its series do not exist yet: for rare events."""
    return f"{expression} or on() vector(0)"


def failing(selector: str, by: str) -> str:
    """The share of attempts that fail."""
    not_delivered = 'outcome!="delivered"'
    part = per_second("chaski_attempts_total", f"{selector},{not_delivered}" if selector else not_delivered, by)
    whole = per_second("chaski_attempts_total", selector, by)
    return f"({part} or {whole} * 0) / ({whole} > 0)"


def unaccounted(selector: str) -> str:
    """Messages accepted since the processes started that are neither settled nor pending."""
    accepted = f"sum(chaski_messages_accepted_total{{{selector}}})"
    settled = f'sum(chaski_messages_settled_total{{{selector},origin="ingest"}})'
    return f"{accepted} - ({settled} or vector(0)) - {messages(selector, '')}"


ACCEPTED, DELIVERED = "chaski_messages_accepted_total", "chaski_messages_delivered_total"
DEAD, ATTEMPTS = "chaski_dead_letters_total", "chaski_attempts_total"

OVERVIEW = [
    Row(
        "Now",
        [
            Panel("Accepted", [(per_second(ACCEPTED, by=""), "")], "reqps", "stat", 4, 4),
            Panel("Delivered", [(per_second(DELIVERED, by=""), "")], "reqps", "stat", 4, 4),
            Panel("Backlog", [(messages(by=""), "")], "short", "stat", 4, 4),
            Panel("Oldest message", [(f"max({age()})", "")], "s", "stat", 4, 4, warn=1800),
            Panel("Dead letters in an hour", [(f"sum(increase({DEAD}[1h]))", "")], "short", "stat", 4, 4, warn=1),
            Panel(
                "Not accounted for",
                [(unaccounted('route=~".+"'), "")],
                "short",
                "stat",
                4,
                4,
                "Messages accepted since the processes started that are neither delivered, dead-lettered nor pending. "
                "Expected to be near zero; counts of a killed process since its last scrape are missing.",
                warn=100,
            ),
        ],
    ),
    Row(
        "Routes",
        [
            Panel("Accepted by route", [(per_second(ACCEPTED), "{{namespace}}/{{route}}")], "reqps", stack=True),
            Panel("Delivered by route", [(per_second(DELIVERED), "{{namespace}}/{{route}}")], "reqps", stack=True),
            Panel("Failed attempts", [(failing("", "namespace, route"), "{{namespace}}/{{route}}")], "percentunit"),
            Panel("Backlog by route", [(messages(), "{{namespace}}/{{route}}")]),
            Panel("Oldest message by queue", [(age(), "{{route}} {{queue}}")], "s"),
            Panel(
                "Dead letters by route",
                [(f"sum by (namespace, route, reason) (increase({DEAD}[$__rate_interval]))", "{{route}} {{reason}}")],
            ),
        ],
    ),
    Row(
        "Ingest",
        [
            Panel(
                "Responses",
                [
                    (
                        per_second("chaski_ingest_request_duration_seconds_count", by="kind, status"),
                        "{{kind}} {{status}}",
                    )
                ],
                "reqps",
            ),
            Panel("Response time", quantiles("chaski_ingest_request_duration_seconds", 'kind="single"'), "s"),
            Panel(
                "Rejections by reason",
                [(or_zero(per_second("chaski_ingest_rejections_total", by="reason")), "{{reason}}")],
                "reqps",
            ),
            Panel(
                "Waiting for the queue",
                [
                    ("sum(chaski_ingest_buffer_messages)", "messages"),
                    ("sum(chaski_ingest_buffer_messages_limit)", "limit"),
                ],
            ),
            Panel(
                "Messages per call",
                [
                    (
                        f"{per_second('chaski_ingest_batch_entries_sum', by='')} / {per_second('chaski_ingest_batch_entries_count', by='')}",
                        "mean",
                    )
                ],
            ),
            Panel(
                "Canary: time since the last arrival",
                [(or_zero("max by (namespace, route) (chaski_canary_age_seconds)"), "{{route}}")],
                "s",
            ),
        ],
    ),
    Row(
        "Workers",
        [
            Panel("Lanes", [("sum by (state) (chaski_lanes)", "{{state}}"), ("sum(chaski_lanes_limit)", "limit")]),
            Panel(
                "Held bytes", [("sum(chaski_held_bytes)", "held"), ("sum(chaski_held_bytes_limit)", "limit")], "bytes"
            ),
            Panel(
                "Repeats",
                [(or_zero(per_second("chaski_repeats_total")), "{{route}}")],
                "reqps",
                about="Messages received again before they were settled: after a crash, a pause or a lost visibility timeout.",
            ),
            Panel(
                "Failed handovers",
                [(or_zero(per_second("chaski_handover_failures_total", by="route, to")), "{{route}} {{to}}")],
                "reqps",
            ),
            Panel(
                "Refused by the guard",
                [(or_zero(per_second("chaski_guard_refusals_total", by="route, reason")), "{{route}} {{reason}}")],
                "reqps",
            ),
        ],
    ),
    Row(
        "AWS",
        [
            Panel("SQS calls", [(per_second("chaski_sqs_requests_total", by="action"), "{{action}}")], "reqps"),
            Panel(
                "DynamoDB calls", [(per_second("chaski_dynamodb_requests_total", by="action"), "{{action}}")], "reqps"
            ),
            Panel(
                "Failed calls",
                [
                    (
                        or_zero(
                            per_second(
                                '{__name__=~"chaski_(sqs|dynamodb)_requests_total",result!~"ok|cancelled"}',
                                by="action, result",
                            )
                        ),
                        "{{action}} {{result}}",
                    )
                ],
                "reqps",
            ),
        ],
    ),
    Row(
        "Operator",
        [
            Panel("Reconciliations", [(per_second("chaski_reconciles_total", by="result"), "{{result}}")], "reqps"),
            Panel(
                "Routes not ready",
                [('count(chaski_route_condition{condition="Ready"} == 0) or vector(0)', "")],
                kind="stat",
                warn=1,
            ),
            Panel("Worker Pods", [("sum by (state) (chaski_replicas)", "{{state}}")]),
            Panel(
                "Scaling",
                [(or_zero(per_second("chaski_scaling_decisions_total", by="direction")), "{{direction}}")],
                "reqps",
            ),
            Panel("Watch age", [("max(chaski_operator_watch_age_seconds)", "")], "s"),
        ],
    ),
    Row(
        "Processes",
        [
            Panel(
                "Memory",
                [("process_resident_memory_bytes and on (instance) chaski_build_info", "{{instance}}")],
                "bytes",
            ),
            Panel(
                "CPU",
                [
                    (
                        "rate(process_cpu_seconds_total[$__rate_interval]) and on (instance) chaski_build_info",
                        "{{instance}}",
                    )
                ],
                "percentunit",
            ),
            Panel("Releases", [("count by (version) (chaski_build_info)", "{{version}}")], kind="stat"),
        ],
    ),
]

BY_ROUTE = [
    Row(
        "Now",
        [
            Panel("Accepted", [(per_second(ACCEPTED, ROUTE, ""), "")], "reqps", "stat", 4, 4),
            Panel("Delivered", [(per_second(DELIVERED, ROUTE, ""), "")], "reqps", "stat", 4, 4),
            Panel("Backlog", [(messages(ROUTE, ""), "")], "short", "stat", 4, 4),
            Panel("Oldest message", [(f"max({age(ROUTE)})", "")], "s", "stat", 4, 4, warn=1800),
            Panel("Failed attempts", [(failing(ROUTE, ""), "")], "percentunit", "stat", 4, 4, warn=0.2),
            Panel("Not accounted for", [(unaccounted(ROUTE), "")], "short", "stat", 4, 4, warn=100),
        ],
    ),
    Row(
        "Flow",
        [
            Panel("Accepted by queue", [(per_second(ACCEPTED, ROUTE, "queue"), "{{queue}}")], "reqps"),
            Panel(
                "Attempts by outcome",
                [(per_second(ATTEMPTS, ROUTE, "stage, outcome"), "{{stage}} {{outcome}}")],
                "reqps",
                stack=True,
            ),
            Panel(
                "Errors by class",
                [(or_zero(per_second(ATTEMPTS, f'{ROUTE},outcome!="delivered"', "error_class")), "{{error_class}}")],
                "reqps",
            ),
            Panel("From 202 to delivery", quantiles("chaski_message_latency_seconds", ROUTE), "s"),
            Panel("Oldest message by queue", [(age(ROUTE), "{{queue}}")], "s"),
            Panel("Messages by queue", [(messages(ROUTE, "queue, state"), "{{queue}} {{state}}")], stack=True),
        ],
    ),
    Row(
        "Targets",
        [
            Panel("Attempts by target", [(per_second(ATTEMPTS, ROUTE, "target"), "{{target}}")], "reqps"),
            Panel("Failed attempts by target", [(failing(ROUTE, "target"), "{{target}}")], "percentunit"),
            Panel(
                "Held targets",
                [
                    (
                        or_zero(f"max by (target, reason) (chaski_target_held{{{ROUTE}}}) > 0"),
                        "{{target}} {{reason}}",
                    )
                ],
                about="1 while a host of the target is held: it is suspended, fails, or asked to wait. Its messages wait in order.",
            ),
            Panel(
                "Duration by target, 95th percentile",
                [quantiles("chaski_attempt_duration_seconds", ROUTE, "target")[1]],
                "s",
            ),
            Panel(
                "Dead letters by target and reason",
                [
                    (
                        or_zero(f"sum by (target, reason) (increase({DEAD}{{{ROUTE}}}[$__rate_interval]))"),
                        "{{target}} {{reason}}",
                    )
                ],
            ),
            Panel(
                "Refused by the guard",
                [(or_zero(per_second("chaski_guard_refusals_total", ROUTE, "reason")), "{{reason}}")],
                "reqps",
            ),
        ],
    ),
    Row(
        "Clients",
        [
            Panel(
                "Messages by client",
                [(f"topk(10, {per_second(ACCEPTED, ROUTE, 'subject_group')})", "{{subject_group}}")],
                "reqps",
                width=12,
            ),
            Panel(
                "Dead letters by client",
                [(f"topk(10, sum by (subject_group) ({DEAD}{{{ROUTE}}}))", "{{subject_group}}")],
                width=12,
            ),
        ],
    ),
    Row(
        "Workers",
        [
            Panel(
                "Lanes",
                [
                    (f"sum by (queue, state) (chaski_lanes{{{ROUTE}}})", "{{queue}} {{state}}"),
                    (f"sum(chaski_lanes_limit{{{ROUTE}}})", "limit"),
                ],
            ),
            Panel(
                "Concurrent attempts",
                [
                    (f'sum by (queue) (chaski_lanes{{{ROUTE},state="busy"}})', "{{queue}}"),
                    (f"sum(chaski_attempts_limit{{{ROUTE}}})", "limit"),
                ],
            ),
            Panel("Worker Pods", [(f"sum by (queue, state) (chaski_replicas{{{ROUTE}}})", "{{queue}} {{state}}")]),
            Panel("Repeats", [(or_zero(per_second("chaski_repeats_total", ROUTE, "queue")), "{{queue}}")], "reqps"),
            Panel(
                "Failed handovers",
                [(or_zero(per_second("chaski_handover_failures_total", ROUTE, "to")), "{{to}}")],
                "reqps",
            ),
        ],
    ),
]

BY_TARGET = [
    Row(
        "Now",
        [
            Panel("Attempts", [(per_second(ATTEMPTS, TARGET, ""), "")], "reqps", "stat", 6, 4),
            Panel("Failed attempts", [(failing(TARGET, ""), "")], "percentunit", "stat", 6, 4, warn=0.2),
            Panel(
                "Duration, 95th percentile",
                [quantiles("chaski_attempt_duration_seconds", TARGET)[1]],
                "s",
                "stat",
                6,
                4,
            ),
            Panel(
                "Dead letters in an hour",
                [(f"sum(increase({DEAD}{{{TARGET}}}[1h]))", "")],
                "short",
                "stat",
                6,
                4,
                warn=1,
            ),
        ],
    ),
    Row(
        "Attempts",
        [
            Panel("By outcome", [(per_second(ATTEMPTS, TARGET, "outcome"), "{{outcome}}")], "reqps", stack=True),
            Panel(
                "Errors by class",
                [(or_zero(per_second(ATTEMPTS, f'{TARGET},outcome!="delivered"', "error_class")), "{{error_class}}")],
                "reqps",
            ),
            Panel("First attempts and retries", [(per_second(ATTEMPTS, TARGET, "stage"), "{{stage}}")], "reqps"),
            Panel("Duration", quantiles("chaski_attempt_duration_seconds", TARGET), "s"),
            Panel(
                "Distribution of durations",
                [(per_second("chaski_attempt_duration_seconds_bucket", TARGET, "le"), "{{le}}")],
                "short",
                "heatmap",
            ),
            Panel("Delivered by queue", [(or_zero(per_second(DELIVERED, TARGET, "queue")), "{{queue}}")], "reqps"),
        ],
    ),
    Row(
        "Dead letters",
        [
            Panel(
                "Dead letters by reason",
                [(or_zero(f"sum by (reason) (increase({DEAD}{{{TARGET}}}[$__rate_interval]))"), "{{reason}}")],
                width=12,
            ),
            Panel(
                "Dead letters by client",
                [(f"topk(10, sum by (subject_group) ({DEAD}{{{TARGET}}}))", "{{subject_group}}")],
                width=12,
            ),
        ],
    ),
]


def _targets(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "refId": chr(ord("A") + number),
            "datasource": SOURCE,
            "expr": expression.replace("{}", ""),
            "legendFormat": legend or "__auto",
            "range": panel.kind != "stat",
            "instant": panel.kind == "stat",
            **({"format": "heatmap"} if panel.kind == "heatmap" else {}),
        }
        for number, (expression, legend) in enumerate(panel.queries)
    ]


def _options(panel: Panel) -> dict[str, Any]:
    if panel.kind == "stat":
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if panel.warn is not None:
            steps.append({"color": "red", "value": panel.warn})
        return {
            "fieldConfig": {
                "defaults": {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}},
                "overrides": [],
            },
            "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "none"},
        }
    if panel.kind == "heatmap":
        return {"options": {"yAxis": {"unit": "s"}, "color": {"scheme": "Spectral"}, "calculate": False}}
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 10, "showPoints": "never", "spanNulls": False}
    if panel.stack:
        custom |= {"stacking": {"mode": "normal"}, "fillOpacity": 30}
    return {
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0, "custom": custom}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
    }


def _panels(rows: Sequence[Row]) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        made.append(
            {
                "id": len(made) + 1,
                "type": "row",
                "title": row.title,
                "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
            }
        )
        top, left, lowest = top + 1, 0, 0
        for panel in row.panels:
            if left + panel.width > COLUMNS:
                top, left, lowest = top + lowest, 0, 0
            made.append(
                {
                    "id": len(made) + 1,
                    "type": panel.kind,
                    "title": panel.title,
                    "description": panel.about,
                    "datasource": SOURCE,
                    "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
                    "targets": _targets(panel),
                    **_options(panel),
                }
            )
            left, lowest = left + panel.width, max(lowest, panel.height)
        top += lowest
    return made


def _variable(name: str, metric: str, selector: str = "") -> dict[str, Any]:
    query = f"label_values({metric}{{{selector}}}, {name})" if selector else f"label_values({metric}, {name})"
    return {
        "name": name,
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": name},
        "definition": query,
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        "allValue": ".+",
        "current": {"text": "All", "value": "$__all"},
    }


def _dashboard(uid: str, title: str, variables: Sequence[dict[str, Any]], rows: Sequence[Row]) -> dict[str, Any]:
    source = {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    link = {"type": "dashboards", "tags": ["chaski"], "title": "Chaski", "asDropdown": True, "includeVars": True}
    return {
        "uid": uid,
        "title": title,
        "tags": ["chaski"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "timezone": "browser",
        "graphTooltip": 1,
        "links": [{**link, "keepTime": True}],
        "templating": {"list": [source, *variables]},
        "panels": _panels(rows),
    }


def dashboards() -> dict[str, str]:
    """The JSON text of each dashboard by its file name."""
    namespace = _variable("namespace", ATTEMPTS)
    route = _variable("route", ATTEMPTS, 'namespace=~"$namespace"')
    target = _variable("target", ATTEMPTS, ROUTE)
    made = {
        "overview.json": _dashboard("chaski-overview", "Chaski: overview", [], OVERVIEW),
        "route.json": _dashboard("chaski-route", "Chaski: one route", [namespace, route], BY_ROUTE),
        "target.json": _dashboard("chaski-target", "Chaski: one target", [namespace, route, target], BY_TARGET),
    }
    return {name: json.dumps(document, indent=1) + "\n" for name, document in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for file, text in dashboards().items():
        (FOLDER / file).write_text(text, encoding="utf-8")
