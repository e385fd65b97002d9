"""Ports for servers that have to know theirs before they listen."""

import socket


def free_port() -> int:
    """A port of 127.0.0.1 that nothing uses now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
