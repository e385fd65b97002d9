"""The addresses of `chaski dev`."""

import pytest

from chaski_cli.dev.services import Addresses


@pytest.mark.parametrize(
    ("host", "console"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("localhost", "localhost"),
        ("0.0.0.0", "127.0.0.1"),
        ("::", "127.0.0.1"),
    ],
)
def test_the_console_of_dev_is_never_open_to_others(host: str, console: str) -> None:
    """It has no authentication."""
    assert Addresses(host, 0, 0).console_host == console
