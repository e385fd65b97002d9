"""The control API of a process that owns a data folder."""

import os
import stat
from pathlib import Path

import aiohttp
import orjson
import pytest

from chaski_core.dead_letter import Claimed, DeadLetter, DeadLetterFilter, DeadLetterKey, ReplayClaim, ReplayMark
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import OutgoingMessage, QueueCounts, Sent
from chaski_core.retry.ladder import Reason
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.client import RemoteOwner, find_owner
from chaski_embedded.control.server import FILE_NAME, SECRET_HEADER, start_control_server
from support.clocks import SteppedClock

LETTER = DeadLetter(
    "ns/r", "m1", "m1", "s", 1_800_000_000_000, Reason.EXHAUSTED, "404", "t", "https://t/", 1, (), {"subject": "s"}
)


async def test_a_client_with_the_secret_sends_marks_and_discards(tmp_path: Path) -> None:
    """Durably, as the owner would; a refusal has the broker's error code."""
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    control = await start_control_server(broker)
    url = await broker.create_queue("q.fifo", {"FifoQueue": "true"})
    await EmbeddedBackend(broker).dead_letters.put(LETTER)
    owner = await find_owner(tmp_path)
    assert owner is not None
    async with owner:
        results = await owner.queue(url).send([OutgoingMessage(b"\xc3\xa4", "g", f"d{n}") for n in range(3)])
        assert [type(each) for each in results] == [Sent] * 3
        assert await broker.queue(url).counts() == QueueCounts(3, 0, 0)
        with pytest.raises(BackendRejectedError, match="QueueDoesNotExist"):
            await owner.queue("embedded://none.fifo").send([OutgoingMessage(b"x", "g", "d")])
        for run, expected in (("run", Claimed.YES), ("other", Claimed.HELD)):
            claim = ReplayClaim(run, 1_800_000_000_000)
            assert await owner.dead_letters.claim([(LETTER.key, None)], claim) == [expected]
        await owner.dead_letters.mark([(LETTER.key, ReplayMark("run", 1, 5, "m7"))])
        judged = [(LETTER.key, ReplayMark("run", 1, 5, "m7")), (LETTER.key, None)]
        claims = await owner.dead_letters.claim(judged, ReplayClaim("other", 1_800_000_000_000))
        assert claims == [Claimed.YES, Claimed.SENT]
        (found,) = [each async for each in owner.dead_letters.find(DeadLetterFilter())]
        assert found.replay == ReplayMark("run", 1, 5, "m7")
        await owner.dead_letters.discard([LETTER.key])
        assert list(await owner.dead_letters.get("m1")) == []
        with pytest.raises(BackendRejectedError, match="MalformedInput"):
            await owner.request({"action": "drop everything"})
    await control.close()
    await broker.close()
    assert not (tmp_path / FILE_NAME).exists()


async def test_other_clients_are_refused(tmp_path: Path) -> None:
    """The secret is in a file for the folder's owner only; a request without it, or with another, does nothing."""
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    await EmbeddedBackend(broker).dead_letters.put(LETTER)
    old = os.umask(0)
    try:
        control = await start_control_server(broker)
    finally:
        os.umask(old)
    file = tmp_path / FILE_NAME
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    where = orjson.loads(file.read_bytes())
    request = orjson.dumps({"action": "discard", "keys": [[LETTER.dead_lettered_at, "m1", "s", "ns/r"]]})
    async with aiohttp.ClientSession() as http:
        for headers in ({}, {SECRET_HEADER: ""}, {SECRET_HEADER: where["secret"][:-1]}):
            async with http.post(where["url"], data=request, headers=headers) as answer:
                assert answer.status == 403
    async with RemoteOwner(tmp_path, where["url"], "another") as stranger:
        with pytest.raises(BackendRejectedError, match="AccessDenied"):
            await stranger.dead_letters.discard([DeadLetterKey(LETTER.dead_lettered_at, "m1", "s", "ns/r")])
    assert len(await EmbeddedBackend(broker).dead_letters.get("m1")) == 1
    await control.close()
    await broker.close()


async def test_the_file_of_a_killed_process_is_ignored(tmp_path: Path) -> None:
    """The port does not respond, or another process does; an invalid file is ignored."""
    assert await find_owner(tmp_path) is None
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    control = await start_control_server(broker)
    left = (tmp_path / FILE_NAME).read_bytes()
    owner = await find_owner(tmp_path)
    assert owner is not None
    await control.close()
    async with owner:
        with pytest.raises(BackendUnavailableError):
            await owner.dead_letters.mark([])
    (tmp_path / FILE_NAME).write_bytes(left)
    assert await find_owner(tmp_path) is None
    (tmp_path / FILE_NAME).write_bytes(b"[]")
    assert await find_owner(tmp_path) is None
    await broker.close()
