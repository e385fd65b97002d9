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


def test_a_metric_that_can_not_be_read_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """The others are on the page, and the log names it."""

    def fail() -> dict[tuple[str, ...], float]:
        raise RuntimeError("no reading")

    registry = MetricsRegistry()
    registry.gauge("broken", "A gauge.", ("a",), fail)
    registry.gauge("other", "A gauge.", ("a",), lambda: {("x",): 1})
    assert samples(registry)["other"] == [({"a": "x"}, 1)]
    assert "broken" not in samples(registry)
    assert "could not read the metric broken" in caplog.text


@pytest.mark.promise(12)
def test_label_sets_that_come_and_go_never_end_in_one_series() -> None:
    """A process that sees many routes in its life keeps nothing of those that are gone."""
    registry, current = MetricsRegistry(), [0]
    registry.gauge("gauge", "A gauge.", ("a",), lambda: {(str(current[0]),): 1})
    for number in range(0, 25_000, 500):
        current[0] = number
        assert samples(registry)["gauge"] == [({"a": str(number)}, 1)]
