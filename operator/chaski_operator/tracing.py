"""A trace span for each reconciliation."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from chaski_operator.kube.workqueue import Key
from chaski_runtime.observability.tracing import Tracing, Value

Finish = Callable[[str, Sequence[Exception]], None]  # result as in chaski_reconciles_total, failures


@contextmanager
def reconcile_span(tracing: Tracing | None, key: Key) -> Iterator[Finish]:
    """A span around one reconciliation, to be finished with its result; an exception becomes the span's error."""
    if tracing is None:
        yield lambda _result, _failures: None
        return
    attributes: dict[str, Value] = {"chaski.route": "/".join(key), "k8s.namespace.name": key[0]}
    span = tracing.start("reconcile", "internal", None, attributes)

    def finish(result: str, failures: Sequence[Exception]) -> None:
        ended: dict[str, Value] = {"chaski.reconcile.result": result}
        if failures:
            ended["error.type"] = type(failures[0]).__name__
        message = "; ".join(map(str, failures))
        span.end(ended, message or result if result != "ok" else None)

    try:
        yield finish
    except BaseException as error:
        span.end({"chaski.reconcile.result": "error", "error.type": type(error).__name__}, str(error))
        raise
