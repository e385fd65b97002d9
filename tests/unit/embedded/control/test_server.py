"""The control API of a process that owns a data folder."""

import asyncio
import os
import socket
import stat
import sys
from pathlib import Path

import pytest

from chaski_core.dead_letter import Claimed, DeadLetterFilter, ReplayClaim, ReplayMark
from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_core.ports import AttemptRecord, HiddenHead, OutgoingMessage, QueueCounts, Sent, VisibilityChange
from chaski_core.retry.control import ControlAction, ControlRecord
from chaski_core.retry.ladder import LadderState
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.address import FOLDER_NAME, MAX_PATH_BYTES, SOCKET_NAME
from chaski_embedded.control.client import find_owner
from chaski_embedded.control.server import start_control_server
from support.clocks import SteppedClock
from support.dead_letters.builder import a_dead_letter

LETTER = a_dead_letter()


async def test_a_client_sends_marks_and_discards(tmp_path: Path) -> None:
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
    assert not (tmp_path / FOLDER_NAME / SOCKET_NAME).exists()


@pytest.mark.parametrize("before", [None, 0o777, 0o755], ids=["new", "everybody's", "readable"])
async def test_only_the_owner_can_enter_the_folder_of_the_socket(tmp_path: Path, before: int | None) -> None:
    """Whatever the umask is, and whatever permissions the folder had before."""
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    if before is not None:
        (tmp_path / FOLDER_NAME).mkdir()
        (tmp_path / FOLDER_NAME).chmod(before)
    old = os.umask(0)
    try:
        control = await start_control_server(broker)
    finally:
        os.umask(old)
    assert stat.S_IMODE((tmp_path / FOLDER_NAME).stat().st_mode) == 0o700
    assert stat.S_ISSOCK((tmp_path / FOLDER_NAME / SOCKET_NAME).stat().st_mode)
    await control.close()
    await broker.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
async def test_another_user_can_not_connect(tmp_path: Path) -> None:
    """A process with another user id gets EACCES although it may enter every folder above."""
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    control = await start_control_server(broker)
    for folder in (tmp_path, *tmp_path.parents[:-1]):
        folder.chmod(folder.stat().st_mode | 0o011)
    program = f"""import os, socket, sys
os.setgid(65534); os.setuid(65534)
try:
    socket.socket(socket.AF_UNIX).connect({str(tmp_path / FOLDER_NAME / SOCKET_NAME)!r})
except PermissionError:
    sys.exit(13)"""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", program)
    assert await process.wait() == 13
    await control.close()
    await broker.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has paths through a descriptor")
async def test_the_path_of_the_folder_may_be_longer_than_an_address(tmp_path: Path) -> None:
    """`sockaddr_un` holds 108 bytes on Linux."""
    folder = tmp_path / ("long-" * 20) / ("longer-" * 10)
    folder.mkdir(parents=True)
    assert len(str(folder)) > MAX_PATH_BYTES
    broker = await EmbeddedBroker.open(folder, SteppedClock())
    control = await start_control_server(broker)
    owner = await find_owner(folder)
    assert owner is not None
    await owner.close()
    await control.close()
    assert await find_owner(folder) is None
    await broker.close()


async def test_the_socket_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    """It refuses connections, so no command takes it for an owner; the next owner's start replaces it."""
    assert await find_owner(tmp_path) is None
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    control = await start_control_server(broker)
    owner = await find_owner(tmp_path)
    assert owner is not None
    await control.close()
    async with owner:
        with pytest.raises(BackendUnavailableError):
            await owner.dead_letters.mark([])
    left = socket.socket(socket.AF_UNIX)
    left.bind(str(tmp_path / FOLDER_NAME / SOCKET_NAME))
    left.close()
    assert await find_owner(tmp_path) is None
    control = await start_control_server(broker)
    owner = await find_owner(tmp_path)
    assert owner is not None
    await owner.close()
    await control.close()
    await broker.close()


async def test_a_client_decides_about_subjects(tmp_path: Path) -> None:
    """It writes, reads and removes records as the owner would, and makes a hidden head visible once."""
    broker = await EmbeddedBroker.open(tmp_path, SteppedClock())
    control = await start_control_server(broker)
    queue = broker.queue(await broker.create_queue("q.fifo", {"FifoQueue": "true"}))
    await queue.send([OutgoingMessage(b"x", "g", "d")])
    (message,) = await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=900, attempt_id="a")
    records = EmbeddedBackend(broker)
    head = HiddenHead("ns/r", "s", queue.url, message.receipt_handle, 1)
    attempted = AttemptRecord(LadderState("5xx", 0, ()), 5, head=head)
    await records.attempt_records.write(message.message_id, attempted)
    hold = ControlRecord("ns/r", "s", ControlAction.HOLD, 5)
    retry = ControlRecord("ns/r", "s", ControlAction.RETRY_NOW, 6, message.message_id, 1)
    owner = await find_owner(tmp_path)
    assert owner is not None
    async with owner:
        assert [each async for each in owner.attempt_records.hidden("ns/r")] == [(message.message_id, attempted)]
        for record in (hold, retry):
            await owner.control_records.write(record)
        assert set(await owner.control_records.read("ns/r")) == {hold, retry}
        assert set(await records.control_records.read("ns/r")) == {hold, retry}
        await owner.control_records.remove(hold)
        assert await records.control_records.read("ns/r") == [retry]
        shown = [VisibilityChange(message.receipt_handle, 0)]
        assert await owner.queue(queue.url).change_visibility(shown) == [None]
        assert (await queue.counts()).visible == 1
        await queue.receive(max_messages=1, wait_seconds=0, visibility_seconds=900, attempt_id="b")
        (refused,) = await owner.queue(queue.url).change_visibility(shown)
        assert refused is not None
        assert refused.sender_fault
    await control.close()
    await broker.close()
