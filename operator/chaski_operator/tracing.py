"""A trace span for each reconciliation."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chaski_operator.kube.workqueue import Key
from chaski_runtime.observability.tracing import Tracing, Value


@dataclass(slots=True)
class ReconcileResult:
    """The result of a reconciliation, filled in by the reconciler."""

    result: str = "ok"  # as in chaski_reconciles_total
    failures: Sequence[Exception] = ()


@contextmanager
def reconcile_span(tracing: Tracing | None, key: Key) -> Iterator[ReconcileResult]:
    """A span around one reconciliation; an exception, or a failure in the result, becomes the span's error."""
    outcome = ReconcileResult()
    if tracing is None:
        yield outcome
        return
    attributes: dict[str, Value] = {"chaski.route": "/".join(key), "k8s.namespace.name": key[0]}
    span = tracing.start("reconcile", "internal", None, attributes)
    try:
        yield outcome
    except BaseException as error:
        span.end({"chaski.reconcile.result": "error", "error.type": type(error).__name__}, str(error))
        raise
    ended: dict[str, Value] = {"chaski.reconcile.result": outcome.result}
    if outcome.failures:
        ended["error.type"] = type(outcome.failures[0]).__name__
    message = "; ".join(map(str, outcome.failures))
    span.end(ended, message or outcome.result if outcome.result != "ok" else None)
