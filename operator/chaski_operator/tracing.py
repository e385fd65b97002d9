"""A span for each look at a route, where traces are on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from chaski_operator.kube.workqueue import Key
from chaski_runtime.observability.tracing import Tracing, Value


@dataclass(slots=True)
class ReconcileResult:
    """What a look came to, noted by whoever looks."""

    result: str = "ok"  # as in chaski_reconciles_total
    failures: Sequence[Exception] = ()


@contextmanager
def look_span(tracing: Tracing | None, key: Key) -> Iterator[ReconcileResult]:
    """Spans one look; what ends it is its error, and so is what it noted."""
    looked = ReconcileResult()
    if tracing is None:
        yield looked
        return
    attributes: dict[str, Value] = {"chaski.route": "/".join(key), "k8s.namespace.name": key[0]}
    span = tracing.begin("reconcile", "internal", None, attributes)
    try:
        yield looked
    except BaseException as error:
        span.end({"chaski.reconcile.result": "error", "error.type": type(error).__name__}, str(error))
        raise
    ended: dict[str, Value] = {"chaski.reconcile.result": looked.result}
    if looked.failures:
        ended["error.type"] = type(looked.failures[0]).__name__
    told = "; ".join(map(str, looked.failures))
    span.end(ended, told or looked.result if looked.result != "ok" else None)
