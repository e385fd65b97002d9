"""What `chaski dev` prints at its start."""

from pathlib import Path

import pytest

from chaski_cli.dev.process import curl_line, is_loopback
from chaski_cli.route_files import load
from unit.cli.test_route_files import route


def test_the_curl_line_can_be_pasted(tmp_path: Path) -> None:
    """It names ingest and the route, and sends to a URL that the route allows."""
    (read,) = load([route(tmp_path, "1.yaml", "a", url="https://*.example.com/hooks/")])
    line = curl_line("http://127.0.0.1:8080", read)
    assert line.startswith("curl -i http://127.0.0.1:8080/v1/routes/default/a/messages ")
    assert "https://www.example.com/hooks/" in line


@pytest.mark.parametrize(
    ("host", "expected"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("0.0.0.0", False), ("box", False)],
)
def test_only_loopback_addresses_are_private(host: str, expected: bool) -> None:
    """Ingest of `chaski dev` has no authentication."""
    assert is_loopback(host) is expected
