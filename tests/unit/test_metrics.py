"""The metrics of all services: documented, and on one page where services share a process."""

import re
from pathlib import Path

from chaski_runtime.observability.metrics.registry import MetricsRegistry
from support.metric_pages import (
    canary_metrics,
    operator_metrics,
    samples,
    take_ingest_metrics,
    take_process_metrics,
    take_worker_metrics,
)


def test_every_metric_is_documented_and_no_other_one() -> None:
    """Ingest and workers on one page, as in `chaski dev`; the metrics of the Python process aside."""
    registry = MetricsRegistry()
    for take in (take_process_metrics, take_ingest_metrics, take_worker_metrics):
        take(registry)
    text = (Path(__file__).parents[2] / "docs" / "metrics.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"`(chaski_\w+)", text))
    shown = {**samples(registry), **samples(operator_metrics()), **samples(canary_metrics())}
    names = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown if name.startswith("chaski_")}
    assert names | {"chaski_metric_overflows_total"} == documented
