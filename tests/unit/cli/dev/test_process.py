"""What `chaski dev` prints at its start."""

from pathlib import Path

from chaski_cli.dev.process import curl_line
from chaski_cli.route_files import load
from unit.cli.test_route_files import route


def test_the_curl_line_can_be_pasted(tmp_path: Path) -> None:
    """It names ingest and the route, and sends to a URL that the route allows."""
    (read,) = load([route(tmp_path, "1.yaml", "a", url="https://*.example.com/hooks/")])
    line = curl_line("http://127.0.0.1:8080", read)
    assert line.startswith("curl -i http://127.0.0.1:8080/v1/routes/default/a/messages ")
    assert "https://www.example.com/hooks/" in line
