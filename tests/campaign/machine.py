"""What the campaign does to this machine: ports, clocks, a file system that gets full."""

import contextlib
import os
import socket
import subprocess
import time
from pathlib import Path

FOLDER_BYTES = 2**30  # of the data folder's own file system, where it has one
_CLOCK_LIBRARIES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/local/lib/faketime/libfaketimeMT.so.1")


def clock_library() -> str:
    """Debian's libfaketime; empty where it is not installed."""
    found = [str(each) for pattern in _CLOCK_LIBRARIES for each in Path("/").glob(pattern[1:])]
    return found[0] if found else ""


def forget_clock(pid: int) -> None:
    """Removes the shared memory that libfaketime leaves behind a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        Path("/dev/shm", name).unlink(missing_ok=True)


def free_ports(number: int) -> list[int]:
    """Ports of 127.0.0.1 that are free now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def run_command(*command: str) -> int:
    """Runs a command of the system; its exit code."""
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=20).returncode
    except FileNotFoundError:
        return 127


def mount(folder: Path) -> bool:
    """Gives the data folder a file system of its own; whether that could be done (it needs root)."""
    return os.getuid() == 0 and not run_command(
        "mount", "-t", "tmpfs", "-o", f"size={FOLDER_BYTES}", "tmpfs", str(folder)
    )


def unmount(folder: Path) -> None:
    """Takes it away, also while a process still has it open."""
    run_command("umount", "--lazy", str(folder))


def fill(folder: Path) -> bool:
    """Leaves the data folder's file system without room; whether that could be done."""
    status = os.statvfs(folder)
    used = (status.f_blocks - status.f_bfree) * status.f_frsize
    return not run_command("mount", "-o", f"remount,size={used + 4 * status.f_frsize}", str(folder))


def make_room(folder: Path) -> None:
    """Ends that."""
    run_command("mount", "-o", f"remount,size={FOLDER_BYTES}", str(folder))


def now() -> float:
    """Monotonic seconds, which all processes of this machine share."""
    return time.monotonic()
