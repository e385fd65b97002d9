"""How a process is asked to stop."""

import asyncio
import os
import signal


def stop_on_signals() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set. A second one of them ends the process at once, as if nobody listened."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def asked(number: signal.Signals) -> None:
        if stop.is_set():
            loop.remove_signal_handler(number)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked, number)
    return stop
