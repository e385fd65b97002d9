"""The bare floor: the least code that receives messages from a queue and delivers them.

uvloop, aiohttp and calls signed by hand. Each poller receives up to ten messages, delivers their groups side by side
and each group in order, and deletes the ten with one call. It has nothing else: no retry, no allow-list, no
timeout of its own, no heartbeat, no log, no metric, no guard against a failed delete, no way to stop in order.
`python -m benchmarks.engine.floor POLLERS` runs until it is terminated.
"""

import asyncio
import hashlib
import hmac
import itertools
import os
import sys
import time
from typing import Any

import aiohttp
import orjson
import uvloop

_REGION = "us-east-1"
_SIGNED = "content-type;host;x-amz-date;x-amz-target"


class Sqs:
    """Signed calls of one queue service."""

    def __init__(self, http: aiohttp.ClientSession, url: str) -> None:
        self._http = http
        self._url = url
        self._host = url.removeprefix("http://").removesuffix("/")
        self._day, self._key = "", b""

    async def call(self, action: str, fields: dict[str, Any]) -> dict[str, Any]:
        """One call; returns its response."""
        body = orjson.dumps(fields)
        async with self._http.post(self._url, data=body, headers=self._headers(action, body)) as answer:
            document: dict[str, Any] = orjson.loads(await answer.read())
            return document

    def _headers(self, action: str, body: bytes) -> dict[str, str]:
        at, target = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), f"AmazonSQS.{action}"
        kind = "application/x-amz-json-1.0"
        canonical = (
            f"POST\n/\n\ncontent-type:{kind}\nhost:{self._host}\nx-amz-date:{at}\nx-amz-target:{target}\n\n"
            f"{_SIGNED}\n{hashlib.sha256(body).hexdigest()}"
        )
        scope = f"{at[:8]}/{_REGION}/sqs/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{at}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        if at[:8] != self._day:
            self._day, self._key = at[:8], _signing_key(at[:8])
        signature = hmac.digest(self._key, text.encode(), "sha256").hex()
        credential = f"Credential={os.environ['AWS_ACCESS_KEY_ID']}/{scope}"
        signed = f"AWS4-HMAC-SHA256 {credential}, SignedHeaders={_SIGNED}, Signature={signature}"
        return {"Content-Type": kind, "X-Amz-Date": at, "X-Amz-Target": target, "Authorization": signed}


def _signing_key(day: str) -> bytes:
    key = f"AWS4{os.environ['AWS_SECRET_ACCESS_KEY']}".encode()
    for part in (day, _REGION, "sqs", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


async def _poll(sqs: Sqs, http: aiohttp.ClientSession, queue: str) -> None:
    fields = {
        "QueueUrl": queue,
        "MaxNumberOfMessages": 10,
        "WaitTimeSeconds": 20,
        "VisibilityTimeout": 60,
        "MessageSystemAttributeNames": ["MessageGroupId"],
    }
    while True:
        messages = (await sqs.call("ReceiveMessage", fields)).get("Messages") or []
        groups = [list(group) for _, group in itertools.groupby(messages, _group)]
        if len(groups) == 1:
            await _deliver(http, groups[0])
        else:
            await asyncio.gather(*(_deliver(http, group) for group in groups))
        if messages:
            entries = [{"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]} for n, each in enumerate(messages)]
            await sqs.call("DeleteMessageBatch", {"QueueUrl": queue, "Entries": entries})


def _group(message: dict[str, Any]) -> str:
    return str(message["Attributes"]["MessageGroupId"])


async def _deliver(http: aiohttp.ClientSession, messages: list[dict[str, Any]]) -> None:
    for message in messages:
        body = orjson.loads(message["Body"])["body"]
        async with http.post(body["url"], data=body["content"].encode(), headers=body["headers"]) as answer:
            await answer.read()


async def _run(pollers: int) -> None:
    url = os.environ["AWS_ENDPOINT_URL_SQS"]
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar()) as http:
        sqs = Sqs(http, url)
        sys.stdout.write('{"event.action":"ready"}\n')
        sys.stdout.flush()
        await asyncio.gather(*(_poll(sqs, http, f"{url}messages.fifo") for _ in range(pollers)))


def main() -> None:
    """Runs until it is terminated."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_run(int(sys.argv[1])))


if __name__ == "__main__":
    main()
