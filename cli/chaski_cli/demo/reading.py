"""Reads the demo's figures out of a Prometheus text page."""

from collections.abc import Mapping

from prometheus_client.parser import text_string_to_metric_families

from chaski_cli.demo.experiment import Metrics


def read_metrics(page: str) -> Metrics:
    """The figures of one `/metrics` page; a counter that is not there yet counts nothing."""
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]

    def summed(name: str, by: str, only: Mapping[str, str] | None = None) -> dict[str, int]:
        sums: dict[str, int] = {}
        for sample in samples:
            if sample.name == name and all(sample.labels.get(key) == value for key, value in (only or {}).items()):
                label = sample.labels.get(by, "")
                sums[label] = sums.get(label, 0) + int(sample.value)
        return sums

    attempts = "chaski_attempts_total"
    return Metrics(
        accepted=summed("chaski_messages_accepted_total", "subject_group"),
        failed_retries=summed(attempts, "target", {"stage": "retry", "outcome": "failed"}),
        delivered=summed("chaski_messages_delivered_total", "target"),
        dead_letters=summed("chaski_dead_letters_total", "target"),
        attempts=summed(attempts, "target"),
    )
