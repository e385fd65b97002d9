"""A target in a Pod: responds according to the path and records its requests. `GET /seen` returns them.

`/200`, `/400`, `/500` respond with this status; `/timeout` does not respond for a minute; `/slow` responds 200 after a quarter of a second;
`/to/HOST/PATH` redirects to this URL; `/uneven` responds 200 at once, but to one message in twenty after three seconds: longer than a killed Pod lives.
A producer also polls whether it may hurry (`GET /hurry`), which the test sets (`GET /hurry/now`).
"""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

lock = threading.Lock()
hurry = threading.Event()
requests: dict[str, int] = {}  # path -> requests
seen: dict[str, list[int]] = {}  # subject -> sequence numbers in order of arrival, repeats included


class Target(BaseHTTPRequestHandler):
    """Counts every request before it responds."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Returns the recorded requests, or whether a producer may hurry."""
        if self.path == "/hurry/now":
            hurry.set()
        with lock:
            result = hurry.is_set() if self.path.startswith("/hurry") else {"requests": requests, "seen": seen}
            self._answer(200, json.dumps(result).encode())

    def do_POST(self) -> None:
        """Records and answers a delivery."""
        message = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))) or b"{}")
        kind = self.path.rpartition("/")[2]
        with lock:
            requests[kind] = requests.get(kind, 0) + 1
            if "sequence" in message:
                seen.setdefault(message["subject"], []).append(message["sequence"])
        if kind == "timeout":
            time.sleep(60)
        if kind == "slow":
            time.sleep(0.25)
        if kind == "uneven" and message["sequence"] % 20 == 19:
            time.sleep(3)
        if "/to/" in self.path:
            kind = "302"
        self._answer(int(kind) if kind.isdigit() else 200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            if status == 302:
                self.send_header("Location", f"http://{self.path.partition('/to/')[2]}")
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # the client has disconnected

    def log_message(self, *_: object) -> None:
        """Logs nothing; the test reads the counts."""


class Server(ThreadingHTTPServer):
    """Accepts many concurrent connections."""

    request_queue_size = 256
    daemon_threads = True


Server(("", 8080), Target).serve_forever()
