"""A PostgreSQL server of a test's own, from Debian's package."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from support.ports import free_port
from support.tools import missing, requires

_SECONDS = 60
_USER = "nobody"  # the server refuses to run as root


def programs() -> Path:
    """The folder of the newest server's programs; without one the test is skipped on a laptop, and fails where `CI=true`."""
    requires("landing", "PostgreSQL")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        missing("PostgreSQL is not installed (make tools)")
    return found[-1].parent


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Runs a server on a free port of 127.0.0.1; yields the URL of its database."""
    binaries = programs()
    user = _USER if os.getuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="postgres-"))  # pytest's own folders are closed to other users
    port = free_port()
    try:
        if user is not None:
            shutil.chown(folder, user)
        data = folder / "data"
        initdb = [binaries / "initdb", "--pgdata", data, "--username", "chaski", "--auth", "trust", "--no-sync"]
        subprocess.run(initdb, user=user, cwd=folder, check=True, capture_output=True, timeout=_SECONDS)
        options = f"-c listen_addresses=127.0.0.1 -c port={port} -c unix_socket_directories={folder}"
        control = [binaries / "pg_ctl", "--pgdata", data, "--log", folder / "log", "-w"]
        subprocess.run([*control, "-o", options, "start"], user=user, cwd=folder, check=True, timeout=_SECONDS)
        try:
            yield f"postgresql://chaski@127.0.0.1:{port}/postgres"
        finally:
            subprocess.run([*control, "-m", "immediate", "stop"], user=user, cwd=folder, check=True, timeout=_SECONDS)
    finally:
        shutil.rmtree(folder)
