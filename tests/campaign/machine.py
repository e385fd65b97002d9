"""Helpers of the campaign for this machine: ports, clocks, a file system that can be filled."""

import asyncio
import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

FOLDER_BYTES = 2**30  # size of the data folder's file system, if it has its own
_FILL_TRIES = 50
_CLOCK_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def clock_library() -> str:
    """Path of Debian's libfaketime; empty if it is not installed."""
    found = [str(each) for pattern in _CLOCK_LIBRARIES for each in Path("/").glob(pattern[1:])]
    return found[0] if found else ""


def forget_clock(pid: int) -> None:
    """Removes the shared memory of libfaketime that a killed process leaves behind."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)


def free_ports(number: int) -> list[int]:
    """Free ports of 127.0.0.1."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_command(*command: str) -> int:
    """Runs a system command; returns its exit code."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
    except FileNotFoundError:
        return 127


def mount(folder: Path) -> bool:
    """Mounts a separate file system for the data folder; returns whether this succeeded (it needs root)."""
    return os.getuid() == 0 and not run_command(
        "mount", "-t", "tmpfs", "-o", f"size={FOLDER_BYTES}", "tmpfs", str(folder)
    )


def unmount(folder: Path) -> None:
    """Unmounts it, even while a process has it open."""
    run_command("umount", "--lazy", str(folder))


def fill(folder: Path) -> bool:
    """Fills the data folder's file system; returns whether this succeeded.

    A size below what is used by then is refused, and the programs write meanwhile.
    """
    for _ in range(_FILL_TRIES):
        status = os.statvfs(folder)
        used = (status.f_blocks - status.f_bfree) * status.f_frsize
        if not run_command("mount", "-o", f"remount,size={used + 4 * status.f_frsize}", str(folder)):
            return True
    return False


def free_space(folder: Path) -> None:
    """Undoes `fill`."""
    run_command("mount", "-o", f"remount,size={FOLDER_BYTES}", str(folder))


def now() -> float:
    """Monotonic seconds, the same in all processes of this machine."""
    return time.monotonic()


async def set_within(event: asyncio.Event, seconds: float) -> bool:
    """Waits until an event is set, at most these seconds; returns whether it is."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return False
    return True
