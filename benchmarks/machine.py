"""The machine of a measurement: properties that speed depends on, none that identifies it."""

import os
import platform
import sqlite3
import statistics
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

_SYNCS = 200
_PAGE = b"\0" * 4096


def facts(folder: Path) -> list[tuple[str, str]]:
    """The properties of the machine, by name.

    Args:
        folder: on the disk of the data folders.
    """
    return [
        ("CPU", f"{_processor()}, {os.cpu_count()} cores"),
        ("memory", f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"),
        ("system", f"{platform.system()} {platform.release().partition('-')[0]}"),
        ("disk", f"a write of 4 KiB and fdatasync take {_sync_ms(folder):.2f} ms (median of {_SYNCS})"),
        ("Python", f"{platform.python_version()}, SQLite {sqlite3.sqlite_version}"),
        ("libraries", ", ".join(f"{name} {version(name)}" for name in ("aiohttp", "uvloop", "orjson"))),
        ("busy before the start", f"load average {os.getloadavg()[0]:.1f}"),
    ]


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _sync_ms(folder: Path) -> float:
    took = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(_SYNCS):
            start = time.perf_counter()
            file.write(_PAGE)
            file.flush()
            os.fdatasync(file.fileno())
            took.append(time.perf_counter() - start)
    return statistics.median(took) * 1000
