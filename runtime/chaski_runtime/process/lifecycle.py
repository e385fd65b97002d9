"""The start and the end of a process that runs for long."""

import asyncio
import gc
import os
import signal

# A few MiB of objects. Message objects are freed by reference counting; the default threshold of 700 would trigger a
# collection every 5 messages.
_GC_THRESHOLD = 20_000


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. A second signal ends the process at once, as without a handler."""
    stop = asyncio.Event()
    handle_signals(stop)
    return stop


def handle_signals(stop: asyncio.Event) -> None:
    """Has SIGTERM and SIGINT set an event; also again, where a library has installed other handlers."""
    loop = asyncio.get_running_loop()

    def on_signal(number: signal.Signals) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, on_signal, number)


def freeze_startup_objects() -> None:
    """Call once after startup: excludes long-lived objects (modules, schemas, clients) from garbage collection.

    Otherwise each full collection traverses them and blocks the process for 60 ms. Newer objects are collected less
    often as well.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_GC_THRESHOLD, *gc.get_threshold()[1:])
