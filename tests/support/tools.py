"""Programs that tests use and that do not come with the virtual environment."""

import os
import shutil
import socket
from collections.abc import Collection
from typing import NoReturn

import pytest

# The markers of the running test, set by tests/conftest.py; None outside pytest, where nothing is checked.
markers: Collection[str] | None = None
_PROVIDED_BY = {"landing": ("landing", "cluster", "slow", "e2e"), "cluster": ("cluster", "slow", "e2e")}


def requires(marker: str, what: str) -> None:
    """Fails a test that uses a program without the marker for it, so that `make test` runs on any machine."""
    if markers is not None and not set(_PROVIDED_BY[marker]) & set(markers):
        pytest.fail(f"a test that uses {what} must be marked `{marker}`")


def need(program: str) -> str:
    """The path of a program; without it the test is skipped on a laptop, and fails where `CI=true`."""
    requires("landing", program)
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed (make tools)")
    return found


def missing(reason: str) -> NoReturn:
    """Skips the test on a laptop, fails it where `CI=true`."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and {reason}")
    pytest.skip(reason)


def need_ipv6() -> None:
    """Skips the test on a machine whose kernel or container has no IPv6, on CI too: many of its machines have none."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"this machine has no IPv6: {error}")
