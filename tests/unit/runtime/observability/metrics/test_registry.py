import pytest

from chaski_core import __version__
from chaski_runtime.observability.metrics.registry import MetricsRegistry
from support.metric_pages import samples, take_process_metrics


@pytest.fixture
def registry() -> MetricsRegistry:
    """A page on which each metric was taken once."""
    made = MetricsRegistry()
    take_process_metrics(made)
    return made


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("chaski_sqs_requests_total", {"action": "SendMessageBatch", "result": "ok"}, 3),
        ("chaski_dynamodb_requests_total", {"action": "PutItem", "result": "throttled"}, 1),
        ("chaski_log_lines_dropped_total", {}, 5),
        ("chaski_clock_offset_seconds", {}, -7_200),
        ("chaski_build_info", {"version": __version__}, 1),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_metric_has_exactly_its_documented_name_and_labels(
    registry: MetricsRegistry, name: str, labels: dict[str, str], value: float
) -> None:
    """Dashboards and alerts depend on them: no unit is appended, no scope or overflow label is added."""
    assert samples(registry)[name] == [(labels, value)]


@pytest.mark.promise(8)
def test_an_unknown_clock_offset_has_no_series() -> None:
    """Unknown is not zero."""
    registry = MetricsRegistry()
    registry.observe_clock(lambda: None)
    assert "chaski_clock_offset_seconds" not in samples(registry)


def test_registries_share_nothing(registry: MetricsRegistry) -> None:
    """Two may be in one process."""
    assert "chaski_sqs_requests_total" in samples(registry)
    assert "chaski_sqs_requests_total" not in samples(MetricsRegistry())


async def test_a_scrape_returns_the_same_page_as_rendering(registry: MetricsRegistry) -> None:
    """Only the thread that makes the text differs."""

    def own(text: bytes) -> list[str]:
        return [line for line in text.decode().splitlines() if "chaski_" in line]

    assert own(await registry.scrape()) == own(registry.render())
