"""The script of `helm test`: a sink and a producer in one Pod. Sends one message to ingest and waits until it arrives.

Settings: URL of the route's messages, URL of the sink as workers reach it, a token's file, seconds to wait.
"""

import json
import os
import socket
import ssl
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MESSAGES, SINK, TOKEN = os.environ["MESSAGES_URL"], os.environ["SINK_URL"], Path(os.environ["TOKEN_FILE"])
DEADLINE = time.monotonic() + float(os.environ["TIMEOUT_SECONDS"])
MARK = uuid.uuid4().hex
ANY_CERTIFICATE = ssl.create_default_context()  # this tests that HTTPS is served, not for which name
ANY_CERTIFICATE.check_hostname, ANY_CERTIFICATE.verify_mode = False, ssl.CERT_NONE
arrived = threading.Event()


class Sink(BaseHTTPRequestHandler):
    """Answers 200 to every request and recognizes its own message."""

    def do_POST(self) -> None:
        """Records that the message arrived."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()
        if MARK in body.decode(errors="replace"):
            arrived.set()


class Server(ThreadingHTTPServer):
    """Listens on addresses of both families, where the machine has them."""

    address_family = socket.AF_INET6 if socket.has_dualstack_ipv6() else socket.AF_INET

    def server_bind(self) -> None:
        """Lets the IPv6 socket take IPv4 connections too."""
        if self.address_family == socket.AF_INET6:
            self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()


def accepted() -> str | None:
    """Sends the message once. Returns None if it was accepted, otherwise the reason."""
    message = {"id": f"helm-test-{MARK}", "subject": "helm-test", "body": {"url": SINK, "content": {"mark": MARK}}}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN.read_text().strip()}"}
    request = urllib.request.Request(MESSAGES, json.dumps(message).encode(), headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=15, context=ANY_CERTIFICATE) as response:
            print(f"ingest answered {response.status}: {response.read().decode()}", flush=True)
            return None
    except urllib.error.HTTPError as error:
        return f"ingest answered {error.code}: {error.read().decode(errors='replace')[:300]}"
    except OSError as error:
        return f"ingest is unreachable: {error}"


def main() -> int:
    """The exit status."""
    server = Server(("", 8080), Sink)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    while (reason := accepted()) is not None:  # the route may not be ready yet
        if time.monotonic() > DEADLINE:
            print(f"FAILED: {reason}", flush=True)
            return 1
        time.sleep(2)
    if not arrived.wait(max(0.0, DEADLINE - time.monotonic())):
        print(f"FAILED: the message was accepted and did not arrive at {SINK}", flush=True)
        return 1
    print("passed: one message was delivered from ingest through SQS and a worker to its target", flush=True)
    return 0


sys.exit(main())
