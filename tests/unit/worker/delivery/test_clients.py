"""The system's resolver in threads of its own."""

import errno
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from chaski_runtime.process import descriptors
from chaski_worker.delivery.clients import OwnThreadsResolver
from chaski_worker.shortage.detection import ShortageError, ShortageReason, shortage_in


async def test_addresses_have_family_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiohttp expects them, and resolved in a thread named after the target."""
    threads = []

    def getaddrinfo(_: str, port: int, *__: object) -> list[tuple[int, int, int, str, tuple[object, ...]]]:
        threads.append(threading.current_thread().name)
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", port)),
            (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("2001:db8::1", port, 0, 0)),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = OwnThreadsResolver("billing")
    try:
        found = await resolver.resolve("target.test", 8080)
    finally:
        await resolver.close()
    assert [(each["host"], each["port"], each["family"]) for each in found] == [
        ("192.0.2.1", 8080, socket.AF_INET),
        ("2001:db8::1", 8080, socket.AF_INET6),
    ]
    assert threads[0].startswith("dns-billing")


async def test_a_name_without_addresses_is_an_oserror(monkeypatch: pytest.MonkeyPatch) -> None:
    """The HTTP client treats it as a failed resolution."""

    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = OwnThreadsResolver("billing")
    try:
        with pytest.raises(OSError, match="not known"):
            await resolver.resolve("nowhere.test")
    finally:
        await resolver.close()


def _failing(error: OSError) -> Callable[..., None]:
    def getaddrinfo(*_: object) -> None:
        raise error

    return getaddrinfo


async def _resolve(resolv_conf: Path) -> None:
    resolver = OwnThreadsResolver("billing", resolv_conf)
    try:
        await resolver.resolve("target.test")
    finally:
        await resolver.close()


AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
NONAME = socket.gaierror(socket.EAI_NONAME, "Name or service not known")


@pytest.mark.promise(4)
@pytest.mark.parametrize("text", [None, "", "search a.test\n"], ids=["no file", "empty", "no name server"])
async def test_no_name_server_is_configured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str | None) -> None:
    """Then glibc asks 127.0.0.1, where nothing listens, and reports a name server that failed."""
    monkeypatch.setattr(socket, "getaddrinfo", _failing(AGAIN))
    if text is not None:
        (tmp_path / "resolv.conf").write_text(text)
    with pytest.raises(ShortageError, match="names no name server") as raised:
        await _resolve(tmp_path / "resolv.conf")
    assert raised.value.shortage.reason is ShortageReason.RESOLVER


@pytest.mark.parametrize(("error", "text"), [(AGAIN, "nameserver 192.0.2.1\n"), (NONAME, "")], ids=["fails", "unknown"])
async def test_a_response_of_a_name_server_is_not_a_shortage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError, text: str
) -> None:
    """The owner of the name is responsible for SERVFAIL and NXDOMAIN."""
    monkeypatch.setattr(socket, "getaddrinfo", _failing(error))
    (tmp_path / "resolv.conf").write_text(text)
    with pytest.raises(socket.gaierror):
        await _resolve(tmp_path / "resolv.conf")


@pytest.mark.parametrize("error", [AGAIN, NONAME], ids=["EAI_AGAIN", "EAI_NONAME"])
async def test_a_lookup_without_a_descriptor_is_a_shortage(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: OSError
) -> None:
    """Glibc reports files and sockets that it could not open with the same error."""
    monkeypatch.setattr(socket, "getaddrinfo", _failing(error))
    monkeypatch.setattr(descriptors, "are_short", lambda: True)
    (tmp_path / "resolv.conf").write_text("nameserver 192.0.2.1\n")
    with pytest.raises(ShortageError) as raised:
        await _resolve(tmp_path / "resolv.conf")
    assert raised.value.shortage.reason is ShortageReason.DESCRIPTORS


@pytest.mark.parametrize(
    ("number", "reason"),
    [(errno.EMFILE, ShortageReason.DESCRIPTORS), (errno.EIO, ShortageReason.RESOLVER)],
    ids=["EMFILE", "EIO"],
)
async def test_a_system_error_of_the_resolver(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, number: int, reason: ShortageReason
) -> None:
    """CPython raises EAI_SYSTEM as its errno."""
    monkeypatch.setattr(socket, "getaddrinfo", _failing(OSError(number, "words")))
    with pytest.raises(ShortageError) as raised:
        await _resolve(tmp_path / "resolv.conf")
    assert raised.value.shortage.reason is reason


async def test_a_thread_that_can_not_be_started_is_a_shortage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Detected by CPython's own text."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError) as raised:
        await _resolve(tmp_path / "resolv.conf")
    found = shortage_in(raised.value)
    assert found is not None
    assert found.reason is ShortageReason.THREADS
