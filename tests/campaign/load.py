"""Concurrent producers, each with its own subjects, whose messages it sends one after the other until each is accepted."""

import asyncio
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import orjson

from campaign.evidence import Sending
from campaign.plan import KEYS, MAIN, NAMESPACE, Message, messages_of

PRODUCERS = 16
_MAX_BATCH = 40
_REQUEST_SECONDS = 10.0  # timeout of one request
_GRACE_SECONDS = 120.0  # after the end of the load, for messages that are being sent
_BACKOFF_SECONDS = (0.05, 0.1, 0.2, 0.5)


@dataclass
class Load:
    """All producers, and their records of what they sent."""

    ingest: str  # URL
    target: str  # URL
    seed: int
    wanted: int  # number of messages
    seconds: float  # over which they are spread
    subjects: int = 320
    keys: bool = True  # producers authenticate with keys
    reuse: bool = True  # ids are reused for other messages
    sendings: list[Sending] = field(default_factory=list)
    given: int = 0
    unclear: Counter[str] = field(
        default_factory=Counter
    )  # responses that neither accept nor refuse, by status and title

    async def run(self) -> None:
        """Sends all messages; returns when each has been accepted or refused."""
        connector = aiohttp.TCPConnector(limit=2 * PRODUCERS)
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        self._began = time.monotonic()
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout) as self._http,
            asyncio.TaskGroup() as producing,
        ):
            for number in range(PRODUCERS):
                producing.create_task(self._produce(number))

    async def send_waiting(self, messages: Sequence[Message], route: str) -> None:
        """Sends messages to another route, one after the other, until each is accepted."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as self._http:
            for message in messages:
                await self._single(self._begin(message, route), 0)

    async def _produce(self, number: int) -> None:
        chance = random.Random(f"{self.seed}/load/{number}")
        subjects = [f"s{index}" for index in range(number, self.subjects, PRODUCERS)]
        messages = messages_of(self.seed, number, subjects, self.reuse, self.keys)
        while (left := self.wanted - self.given) > 0:
            due = self._began + self.given * self.seconds / self.wanted
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
                continue
            size = 1 if chance.random() < 0.7 else min(left, chance.randint(2, _MAX_BATCH))
            self.given += size
            await self._send(messages, size, number)

    async def _send(self, messages: Iterator[Message], size: int, number: int) -> None:
        if size == 1:
            await self._single(self._begin(next(messages)), number)
            return
        plain = [
            dataclasses.replace(next(messages), idempotency_key=None, repeat=False, by_two=False) for _ in range(size)
        ]
        await self._batch([self._begin(each) for each in plain], number)

    def _begin(self, message: Message, route: str = MAIN) -> Sending:
        sending = Sending(message, route, time.monotonic())
        self.sendings.append(sending)
        return sending

    async def _single(self, sending: Sending, number: int) -> None:
        await self._until_accepted(sending, number)
        if sending.accepted is None:
            return
        if sending.message.repeat:
            await self._until_accepted(sending, number)
            sending.again = time.monotonic()
        elif sending.message.by_two:
            await self._until_accepted(sending, number + 1)

    async def _until_accepted(self, sending: Sending, number: int) -> None:
        """Sends a message until it is accepted or refused. Any other response may have put it on the queue."""
        body = orjson.dumps(self._document(sending.message))
        headers = self._headers(number, "application/json")
        if sending.message.idempotency_key is not None:
            headers["Idempotency-Key"] = sending.message.idempotency_key
        url = self._url(sending.route, "messages")
        for tries in range(self._max_tries()):
            try:
                async with self._http.post(url, data=body, headers=headers) as got:
                    status, text = got.status, await got.read()
            except (aiohttp.ClientError, TimeoutError):
                status, text = 503, b""
            if self._record(sending, status, text):
                return
            await asyncio.sleep(_BACKOFF_SECONDS[min(tries, len(_BACKOFF_SECONDS) - 1)])

    async def _batch(self, sendings: Sequence[Sending], number: int) -> None:
        """Sends lines until each is accepted or refused; repeated lines keep their order."""
        left = list(sendings)
        headers = self._headers(number, "application/x-ndjson")
        for tries in range(self._max_tries()):
            body = b"\n".join(orjson.dumps(self._document(each.message)) for each in left)
            try:
                async with self._http.post(self._url(MAIN, "messages:batch"), data=body, headers=headers) as got:
                    lines = (await got.read()).splitlines() if got.status == 200 else []
            except (aiohttp.ClientError, TimeoutError):
                lines = []
            results = {each["line"]: each for each in map(orjson.loads, lines)}
            left = [each for line, each in enumerate(left, 1) if not self._record_line(each, results.get(line))]
            if not left:
                return
            await asyncio.sleep(_BACKOFF_SECONDS[min(tries, len(_BACKOFF_SECONDS) - 1)])

    def _record_line(self, sending: Sending, result: Mapping[str, Any] | None) -> bool:
        if result is None:
            sending.unclear += 1
            self.unclear["none"] += 1
            return False
        return self._record(sending, result["status"], orjson.dumps(result))

    def _record(self, sending: Sending, status: int, text: bytes) -> bool:
        """Records a response; returns whether it accepts or refuses the message."""
        if status == 202:
            answer = orjson.loads(text)
            sending.accepted = sending.accepted or time.monotonic()
            sending.answers.append((answer["id"], answer.get("messageId", "")))
            return True
        if 400 <= status < 500 and status not in {408, 429}:
            sending.refused = text.decode()[:200]
            return True
        sending.unclear += b"Not sent" not in text
        self.unclear[_title(status, text)] += 1
        return False

    def _max_tries(self) -> int:
        return int((self.seconds + _GRACE_SECONDS) / _BACKOFF_SECONDS[-1])

    def _document(self, message: Message) -> dict[str, Any]:
        document = {"subject": message.subject, "body": {"url": self.target, "content": message.token}}
        return document if message.label is None else document | {"id": message.label}

    def _headers(self, number: int, content_type: str) -> dict[str, str]:
        headers = {"Content-Type": content_type}
        if self.keys:
            headers["Authorization"] = f"Bearer {KEYS[number % len(KEYS)]}"
        return headers

    def _url(self, route: str, end: str) -> str:
        return f"{self.ingest}/v1/routes/{NAMESPACE}/{route}/{end}"


def _title(status: int, text: bytes) -> str:
    try:
        return f"{status} {orjson.loads(text)['title']}"
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return "none"
