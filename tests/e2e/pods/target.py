"""A target in a Pod: answers as its path says, and remembers what came. `GET /seen` tells it.

`/200`, `/400`, `/500` answer that; `/timeout` answers nothing for a minute; `/slow` answers 200 after a quarter of a second;
`/uneven` answers 200 at once, but to one message in twenty after three seconds: longer than a killed Pod goes on.
Besides it is where a producer asks whether it may hurry (`GET /hurry`), and where the test says that it may (`GET /hurry/now`).
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
    """Every request is counted before it is answered."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """What came until now, or whether a producer may hurry."""
        if self.path == "/hurry/now":
            hurry.set()
        with lock:
            told = hurry.is_set() if self.path.startswith("/hurry") else {"requests": requests, "seen": seen}
            self._answer(200, json.dumps(told).encode())

    def do_POST(self) -> None:
        """A delivery."""
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
        self._answer(int(kind) if kind.isdigit() else 200, b"")

    def _answer(self, status: int, body: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        except OSError:
            self.close_connection = True  # whoever asked has gone

    def log_message(self, *_: object) -> None:
        """Says nothing: the counts are what is read."""


class Server(ThreadingHTTPServer):
    """Takes many connections at once."""

    request_queue_size = 256
    daemon_threads = True


Server(("", 8080), Target).serve_forever()
