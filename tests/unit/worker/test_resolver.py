"""The system's resolver in threads of its own."""

import socket
import threading

import pytest

from chaski_worker.resolver import OwnThreadsResolver


async def test_addresses_come_with_family_and_port(monkeypatch: pytest.MonkeyPatch) -> None:
    """As aiohttp wants them, and looked up in a thread that is named for the target."""
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
    """The HTTP client takes it for what it is."""

    def getaddrinfo(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    resolver = OwnThreadsResolver("billing")
    try:
        with pytest.raises(OSError, match="not known"):
            await resolver.resolve("nowhere.test")
    finally:
        await resolver.close()
