"""A producer in a Pod: sends each subject's messages in order, many subjects concurrently, and prints the results.

A message is repeated only if it was not accepted or its id makes a repeat harmless: after a refused or closed
connection, 429, 503, and 404 or 403 before the first 202 (the route may not be known yet). Every other response is a failure.
Settings (environment): URL, PLAN (JSON: `[[subject, target URL, first sequence, count], ...]`, sent concurrently), RETRY_SECONDS.
With PACE_SECONDS a subject's next message waits for PACE_SECONDS / (messages left), so that messages are sent all the time and
some remain to the end, until `GET HURRY_URL` returns `true`. Counts are printed every second, the totals last.
"""

import collections
import http.client
import json
import os
import ssl
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

URL = urlsplit(os.environ["URL"])
RETRY_SECONDS = float(os.environ.get("RETRY_SECONDS", "120"))
TOKEN = Path("/token/token")
TRUST = ssl.create_default_context(cafile="/scripts/ca.crt")
RUN = os.environ["RUN"]
PACE_SECONDS = float(os.environ.get("PACE_SECONDS", "0"))
HURRY_URL = os.environ.get("HURRY_URL", "")
results: collections.Counter[str] = collections.Counter()
lock = threading.Lock()
accepted_once, hurry, done = threading.Event(), threading.Event(), threading.Event()


def count(what: str) -> None:
    """Counts a result."""
    with lock:
        results[what] += 1


class SubjectSender:
    """Sends one subject's messages over one connection."""

    def __init__(self, subject: str, target: str, first: int, number: int) -> None:
        self.subject, self.target, self.first, self.number = subject, target, first, number
        self.connection: http.client.HTTPConnection | None = None

    def run(self) -> None:
        """Sends all messages, one after the other."""
        for sent in range(self.number):
            hurry.wait(PACE_SECONDS / (self.number - sent))
            self.send(self.first + sent)

    def send(self, sequence: int) -> None:
        """Sends one message until it is accepted or refused."""
        content = {"subject": self.subject, "sequence": sequence}
        name = urlsplit(self.target).path.strip("/").replace("/", "-")
        body = {"url": self.target, "content": content}
        message = json.dumps({"id": f"{RUN}-{self.subject}-{name}-{sequence}", "subject": self.subject, "body": body})
        deadline = time.monotonic() + RETRY_SECONDS
        while time.monotonic() < deadline:
            try:
                status, text = self.post(message)
            except (OSError, http.client.HTTPException) as error:
                count(f"connection: {type(error).__name__}")
                self.connection = None
                time.sleep(0.2)
                continue
            if status == 202:
                accepted_once.set()
                count("accepted")
                return
            count(f"answered {status}")
            if status in (408, 429, 503) or (status in (401, 403, 404) and not accepted_once.is_set()):
                time.sleep(0.5)
                continue
            print(f"{status}: {text[:300]!r}", flush=True)
            break
        count("failed")

    def post(self, message: str) -> tuple[int, bytes]:
        """Makes one request. A Service balances connections, not requests, so ingest closes connections from time to time."""
        if self.connection is None:
            self.connection = http.client.HTTPSConnection(URL.hostname or "", URL.port, timeout=20, context=TRUST)
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN.read_text().strip()}"}
        self.connection.request("POST", URL.path, message, headers)
        response = self.connection.getresponse()
        text = response.read()
        if response.will_close:
            self.connection = None
        return response.status, text


def report() -> None:
    """Prints the counts, and polls whether to hurry, until all messages are sent."""
    while not done.wait(1):
        with lock:
            print(json.dumps(results), flush=True)
        if HURRY_URL and not hurry.is_set():
            try:
                with urllib.request.urlopen(HURRY_URL, timeout=5) as answer:  # noqa: S310 - the test's own target
                    if json.load(answer):
                        hurry.set()
            except OSError:
                continue


if not PACE_SECONDS:
    hurry.set()
began = time.monotonic()
reporting = threading.Thread(target=report)
reporting.start()
threads = [threading.Thread(target=SubjectSender(*entry).run) for entry in json.loads(os.environ["PLAN"])]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
done.set()
reporting.join()
print(json.dumps({"seconds": round(time.monotonic() - began, 1), **results}), flush=True)
