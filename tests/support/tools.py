"""Programs that tests drive and that do not come with the virtual environment."""

import os
import shutil
from typing import NoReturn

import pytest


def need(program: str) -> str:
    """The path of a program; without it the test is skipped on a laptop, and fails where `CI=true`."""
    found = shutil.which(program)
    if found is None:
        missing(f"{program} is not installed (make tools)")
    return found


def missing(reason: str) -> NoReturn:
    """Skips the test on a laptop, fails it where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"CI=true, and {reason}")
    pytest.skip(reason)
