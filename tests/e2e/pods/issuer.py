"""A token endpoint (RFC 6749 §4.4) and a target that checks credentials, which repeats what it was sent, as a careless one does.

`POST /token` issues access tokens; `POST /oauth/...` responds 200 to those that are not revoked, `POST /account/...` to JSON
Web Tokens, which the test has reviewed, and both 401 otherwise, and 410 instead of 200 to a path that ends with `gone`.
`GET /set?NAME=VALUE` sets `available` (0: the token endpoint responds 503), `lifetime` (of tokens, in seconds) and `secret` (of
the client); `GET /revoke` revokes every access token and `GET /end-account` every JSON Web Token that was issued before;
`GET /seen` returns what was issued and requested.
"""

import base64
import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, quote, urlsplit

settings = {"available": "1", "lifetime": "3600", "secret": "", "ended": "0"}
issued: list[str] = []
revoked: set[str] = set()
refused: list[int] = []  # statuses of the token endpoint other than 200
seen: list[tuple[str, str, str, int]] = []  # path, token, attempt, status


def issued_at(token: str) -> float:
    """When a JSON Web Token was issued, in seconds since 1970; -1: it is none."""
    parts = token.split(".")
    return float(json.loads(base64.urlsafe_b64decode(parts[1] + "=="))["iat"]) if len(parts) == 3 else -1.0


class Issuer(BaseHTTPRequestHandler):
    """Both, on one port."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        """Sets or returns the state."""
        url = urlsplit(self.path)
        if url.path == "/set":
            settings.update(parse_qsl(url.query))
        if url.path == "/revoke":
            revoked.update(issued)
        if url.path == "/end-account":
            settings["ended"] = str(time.time())
        self._answer(200, {"issued": issued, "seen": seen, "refused": refused})

    def do_POST(self) -> None:
        """A request for a token, or a delivery."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            return self._token()
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        known = token in issued if self.path.startswith("/oauth/") else issued_at(token) > float(settings["ended"])
        status = 401 if not known or token in revoked else 410 if self.path.endswith("gone") else 200
        seen.append((self.path, token, self.headers.get("Chaski-Attempt", ""), status))
        return self._answer(status, {"you sent": dict(self.headers)})

    def _token(self) -> None:
        pair = base64.b64encode(f"client:{quote(settings['secret'], safe='')}".encode()).decode()
        body: dict[str, object]
        if settings["available"] == "0":
            status, body = 503, {"you sent": dict(self.headers)}
        elif self.headers.get("Authorization") != f"Basic {pair}":
            status, body = 401, {"error": "invalid_client", "error_description": str(self.headers)}
        else:
            issued.append(f"access-{len(issued)}-{os.urandom(12).hex()}")
            lifetime = int(settings["lifetime"])
            status, body = 200, {"access_token": issued[-1], "token_type": "Bearer", "expires_in": lifetime}
        if status != 200:
            refused.append(status)
        self._answer(status, body)

    def _answer(self, status: int, body: object) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Logs nothing."""


ThreadingHTTPServer(("", 8080), Issuer).serve_forever()
