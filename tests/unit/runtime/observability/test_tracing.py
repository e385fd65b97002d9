import subprocess
import sys

import pytest

from chaski_runtime.observability.tracing import open_tracing

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        ENDPOINT | {"OTEL_SDK_DISABLED": "TRUE"},
        ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"},
        ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"},
    ],
    ids=["nothing", "empty", "disabled", "none", "another-protocol"],
)
def test_tracing_is_off_unless_the_environment_configures_it(environment: dict[str, str]) -> None:
    """By the standard variables."""
    assert open_tracing("s", environment) is None


def test_without_tracing_the_sdk_is_not_imported() -> None:
    """A process without tracing pays nothing."""
    program = (
        "import sys; from chaski_runtime.observability.tracing import open_tracing; import chaski_worker.observability.tracing; open_tracing('s', {});"
        "print([name for name in sys.modules if name.startswith(('opentelemetry.exporter.otlp', 'opentelemetry.sdk.trace'))])"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.strip() == "[]"


async def test_a_span_continues_its_parents_trace_and_an_invalid_parent_starts_one() -> None:
    """The content of queues is not trusted."""
    tracing = open_tracing("s", ENDPOINT | {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"})
    assert tracing is not None
    parent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert tracing.start("a", "client", parent, {}).traceparent.startswith(parent[:36])
    for wrong in (None, "", "nonsense", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"):
        started = tracing.start("a", "client", wrong, {}, linked=True).traceparent
        assert len(started) == len(parent)
        assert started[:36] != parent[:36]
    await tracing.close()
