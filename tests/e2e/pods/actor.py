"""A client of ingest in a Pod: makes the requests of the JSON list on stdin, and prints their results as a JSON list.

A request has `connect` (host and port; nothing is sent), or `path`, and may have `headers`, `body`, `pad` (number of spaces after the body), `repeat` (how often it is made, one after the
other) and `held` (number of connections that send half of the body and wait; then the responses that came nevertheless are counted). A result is the status, and the reason
where it is not accepted; of a batch that of each line.
"""

import http.client
import json
import socket
import ssl
import sys
import time
from collections import Counter
from typing import Any

HOST = sys.argv[1]
TRUST = ssl.create_default_context(cafile="/scripts/ca.crt")
HELD_SECONDS = 2.0


def result_of(response: http.client.HTTPResponse) -> str:
    """Status and reason; of a batch the statuses of its lines."""
    text = response.read().decode(errors="replace")
    if response.getheader("Content-Type") == "application/x-ndjson":
        return ", ".join(str(json.loads(line)["status"]) for line in text.splitlines())
    try:
        reason = str(json.loads(text).get("type", "")).rpartition(":")[2]
    except ValueError:
        reason = ""
    return f"{response.status} {reason}".strip()


def body_of(request: dict[str, Any]) -> str:
    """The whole body."""
    return str(request.get("body", "")) + " " * int(request.get("pad", 0))


def made(request: dict[str, Any]) -> str:
    """The result of a request on a connection of its own."""
    connection = http.client.HTTPSConnection(HOST, timeout=20, context=TRUST)
    try:
        connection.request("POST", request["path"], body_of(request), request.get("headers", {}))
        return result_of(connection.getresponse())
    except OSError as error:
        return type(error).__name__
    finally:
        connection.close()


def connected(host: str, port: int) -> str:
    """Whether a connection is possible."""
    try:
        socket.create_connection((host, port), 5).close()
    except OSError:
        return "no connection"
    return "done"


def held(request: dict[str, Any], number: int) -> list[ssl.SSLSocket]:
    """Connections on which half of a body was sent."""
    body = body_of(request).encode()
    headers = {**request["headers"], "Host": HOST, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    found = []
    for _ in range(number):
        connection = TRUST.wrap_socket(socket.create_connection((HOST, 443), 20), server_hostname=HOST)
        found.append(connection)
        try:
            connection.sendall(f"POST {request['path']} HTTP/1.1\r\n{head}\r\n".encode() + body[: len(body) // 2])
        except OSError:
            continue  # it was refused and closed
    return found


def refused(connections: list[ssl.SSLSocket]) -> int:
    """Those on which a response came before the end of the body."""
    number = 0
    for connection in connections:
        connection.settimeout(HELD_SECONDS / len(connections))
        try:
            connection.recv(64)
            number += 1
        except TimeoutError:
            continue
        except OSError:
            number += 1
    return number


def results() -> list[str]:
    """Of all requests; held connections stay open to the end."""
    found, open_ones = [], []
    for request in json.load(sys.stdin):
        if "connect" in request:
            found.append(connected(*request["connect"]))
        elif number := request.get("held"):
            open_ones.append(held(request, number))
            found.append("refused" if refused(open_ones[-1]) else "waits")
            time.sleep(HELD_SECONDS)
        else:
            counts = Counter(made(request) for _ in range(request.get("repeat", 1)))
            found.append(" and ".join(sorted(counts)))
    return found


print(json.dumps(results()))
