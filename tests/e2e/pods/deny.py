"""Answers every AWS call as IAM does without the permission."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Denying(BaseHTTPRequestHandler):
    """Responds in AWS's JSON protocols."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """Denies a call."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        action = self.headers.get("X-Amz-Target", "").rpartition(".")[2]
        who = "arn:aws:sts::111122223333:assumed-role/chaski-operator/test"
        message = (
            f"User: {who} is not authorized to perform: sqs:{action.lower()} because no identity-based policy allows it"
        )
        body = json.dumps({"__type": "com.amazonaws.sqs#AccessDeniedException", "message": message}).encode()
        self.send_response(403)
        self.send_header("Content-Type", "application/x-amz-json-1.0")
        self.send_header("x-amzn-query-error", "AccessDenied;Sender")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


ThreadingHTTPServer(("", 8080), Denying).serve_forever()
