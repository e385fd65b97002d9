"""A target for first steps: prints every request and answers with 200 or the given status.

python3 examples/listener.py [STATUS]
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

STATUS = int(sys.argv[1]) if len(sys.argv) > 1 else 200


class Listener(BaseHTTPRequestHandler):
    """Handles every method in the same way."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        """Prints the request and answers it."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        sys.stdout.write(f"{self.command} {self.path} -> {STATUS}  {body.decode(errors='replace')}\n")
        sys.stdout.flush()
        self.send_response(STATUS)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = answer  # noqa: N815 - names required by http.server

    def log_message(self, *_: object) -> None:
        """Prints nothing, because `answer` prints each request."""


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 9000), Listener) as server:
        sys.stdout.write("listening on http://127.0.0.1:9000/\n")
        sys.stdout.flush()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            sys.exit(130)
