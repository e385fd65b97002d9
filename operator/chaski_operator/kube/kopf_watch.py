"""The operator's watch: kopf, in the process's event loop, with one kopf operator for each served namespace.

Used of kopf: its watch (bookmarks, silence, reconnection), its queue of events for each object, raw event handlers, login.
That is how its documentation has a level-triggered operator react. Not used, and why (kopf 1.45):

- `kopf.operator` and `kopf.run`: when one ends, it cancels every task of the loop that began after it, its own or not
  (`running.run_tasks`), and it ends with its first refused watch. `spawn_tasks` is public and returns the tasks that it
  owns; those, and all that they have created, are cancelled here, and no thread is needed.
- One kopf operator for all namespaces: a watch that is refused (403, 404) ends all others (`orchestration.orchestrator`
  raises its error), so one tenant's missing RoleBinding would stop every tenant.
- `on.create`, `on.update`, `on.resume`: they compute differences from a copy of the spec that kopf stores in an annotation
  of each object, with two writes per change. A route is reconciled as a whole, so a difference has no use.
- `on.delete`, `timer`, `daemon`: each puts a finalizer on every object (`on.timer`: `requires_finalizer=True`), so routes
  and namespaces could not be deleted after the operator. Only routes with `deletionPolicy: Delete` have one.
- `TemporaryError` and its delays: 60 s without growth; the work queue has a backoff, a limit of concurrency, and a time for
  the next reconciliation that depends on what was observed.
- `index`: see `cache`. A listing of its own is needed as well: when kopf lists again after a gap (410), it reports no
  deletion that happened in the gap.
- Peering: it is advisory; two operators may write at the same time for up to 60 s. A Lease is not.
- Scanning for namespaces and CRDs: needs cluster-wide rights, which an operator of some namespaces does not have.
- Posting of log lines as events, liveness endpoint: the operator has events of transitions, and its own endpoint.
- Signals: kopf installs handlers; `on_started` installs those of the process again.
"""

import asyncio
import contextvars
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import kopf

from chaski_operator.kube.login import checked_access, connection_info
from chaski_operator.manifests.kinds import Kind, Object
from chaski_runtime.kube.config import KubeAccess, ReloadedAccess

_STOP_SECONDS = 5.0  # for which kopf has time to end its watches by itself
_CREDENTIALS_SECONDS = 5.0  # between two checks of the credentials' files

# Whatever carries the labels is streamed, and dropped by the cache. kopf keeps the last event of an object for the idle time of
# its queue, so both bound what is in memory meanwhile.
_CHUNK_SIZE = 10  # objects in one response of the listing; all kinds are listed at the same time
_IDLE_SECONDS = 0.2

#: The kind; ADDED, MODIFIED, DELETED or None (from a listing); the object.
EventHandler = Callable[[Kind, str | None, Object], None]


async def run_watch(
    access: KubeAccess,
    namespace: str | None,
    kinds: Sequence[Kind],
    handler: EventHandler,
    on_started: Callable[[], None],
) -> None:
    """Watches until cancelled.

    Args:
        access: the API server; its files are read again.
        namespace: None: all.
        kinds: what to watch, each with its selector.
        handler: receives every event.
        on_started: called once kopf has installed its signal handlers.

    Raises:
        NoKubeAccessError: the files of the access can't be used now.
        Exception: the watch ended: refused, the API server was unavailable for longer than kopf's retries, or the files of
            the access have changed, which kopf would not notice.
    """
    reloaded = ReloadedAccess(checked_access(access.read_again()), checked_access)
    access = reloaded.current
    outer = contextvars.copy_context()  # tasks that the handler creates are not kopf's

    def handle(kind: Kind, type_: str | None, document: Object) -> None:
        outer.run(handler, kind, type_, document)

    tasks: Collection[asyncio.Task[None]] = ()
    try:
        with _adopted_tasks() as adopted:
            tasks = await kopf.spawn_tasks(
                registry=_registry(access, kinds, handle),
                settings=_settings(kinds),
                clusterwide=namespace is None,
                namespaces=[] if namespace is None else [namespace],
            )
        on_started()
        ended: set[asyncio.Task[None]] = set()
        while not ended:
            ended, _ = await asyncio.wait(tasks, timeout=_CREDENTIALS_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if reloaded.refresh():
                raise RuntimeError("the credentials for the API server have changed")
        for task in ended:
            task.result()
        raise RuntimeError("kopf ended")
    finally:
        await _stop(tasks, adopted)


# ---- the end of kopf's tasks

_Tasks = dict["asyncio.Task[Any]", None]  # in the order of their creation
_ADOPTED: contextvars.ContextVar[_Tasks | None] = contextvars.ContextVar("adopted", default=None)


@contextmanager
def _adopted_tasks() -> Iterator[_Tasks]:
    """The running ones of the tasks that are created in the block, and in turn by them: they inherit the context."""
    adopted: _Tasks = {}
    asyncio.get_running_loop().set_task_factory(_create_task)
    token = _ADOPTED.set(adopted)
    try:
        yield adopted
    finally:
        _ADOPTED.reset(token)


def _create_task(loop: asyncio.AbstractEventLoop, coroutine: Any, **options: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **options)
    if (adopted := _ADOPTED.get()) is not None:
        adopted[task] = None
        task.add_done_callback(partial(_ended, adopted))
    return task


def _ended(adopted: _Tasks, task: "asyncio.Task[Any]") -> None:
    adopted.pop(task, None)
    if not task.cancelled():
        task.exception()  # else asyncio logs it; what ends a watch is raised by one of kopf's first tasks


async def _stop(tasks: Iterable["asyncio.Task[Any]"], adopted: _Tasks) -> None:
    """Cancels kopf's tasks, and waits until all have ended, however often this is cancelled meanwhile.

    `tasks` end those that they have created, but not always: when one watch is refused, when they are cancelled twice, and when a
    watch was cancelled while it closed a connection (`watching.streaming_block` suppresses that). So what is left in `adopted`
    is cancelled too, the oldest first, one at a time: a watch takes the end of the task that it has created, the waiter for a
    pause, for a pause, and its own cancellation for that one's (`api.stream`).
    """
    cancelled = await _cancel(set(tasks))
    while adopted:
        oldest = next(iter(adopted))
        del adopted[oldest]
        adopted[oldest] = None  # behind the others, in case that it goes on
        cancelled |= await _cancel({oldest})
    if cancelled:
        raise asyncio.CancelledError


async def _cancel(running: set["asyncio.Task[Any]"]) -> bool:
    """Cancels tasks and waits some time for their end; returns whether this was cancelled meanwhile."""
    cancelled, loop = False, asyncio.get_running_loop()
    for task in running:
        task.cancel()
    deadline = loop.time() + _STOP_SECONDS
    while running and (seconds := deadline - loop.time()) > 0:
        try:
            _, running = await asyncio.wait(running, timeout=seconds)
        except asyncio.CancelledError:
            cancelled = True
    return cancelled


def _registry(access: KubeAccess, kinds: Sequence[Kind], handler: EventHandler) -> kopf.OperatorRegistry:
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        return await connection_info(access)

    for kind in kinds:
        _forward(registry, kind, handler)
    return registry


def _forward(registry: kopf.OperatorRegistry, kind: Kind, handler: EventHandler) -> None:
    @kopf.on.event(kind.group, kind.version, kind.plural, id=kind.plural, registry=registry)
    async def forward(event: Any, **_: Any) -> None:
        handler(kind, event["type"], event["object"])


def _settings(kinds: Sequence[Kind]) -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.process.ultimate_exiting_timeout = None
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.peering.standalone = True
    settings.networking.request_timeout = 60.0
    settings.networking.connect_timeout = 10.0
    settings.networking.error_backoffs = (1.0, 2.0, 3.0, 5.0)  # then the watch ends, and the informer lists again
    settings.watching.connect_timeout = 10.0
    settings.watching.chunk_size = _CHUNK_SIZE
    settings.queueing.idle_timeout = _IDLE_SECONDS
    settings.watching.server_timeout = 300  # the API server accepts whole seconds only
    for kind in kinds:
        if kind.selector:
            settings.watching.label_selectors[(kind.group, kind.version, kind.plural)] = kind.selector
    logging.getLogger("kopf").setLevel(logging.WARNING)
    # Their errors end the watch, whose caller logs the cause once; they log each attempt for each kind.
    for part in ("_core.reactor.running", "_core.reactor.orchestration", "_cogs.clients.watching"):
        logging.getLogger(f"kopf.{part}").setLevel(logging.CRITICAL)
    return settings
