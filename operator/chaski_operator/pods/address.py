"""Where a Pod is asked for something, and how much of its answer is read."""

from collections.abc import Mapping
from typing import Any

import aiohttp


def pod_host(pod: Mapping[str, Any]) -> str:
    """Its address as a URL has it; "" where it has none yet."""
    address = str((pod.get("status") or {}).get("podIP") or "")
    return f"[{address}]" if ":" in address else address


def named_port(pod: Mapping[str, Any], name: str) -> int | None:
    """The number of a container's port; None where no container has one of that name."""
    ports = (port for container in pod["spec"]["containers"] for port in container.get("ports") or ())
    return next((int(port["containerPort"]) for port in ports if port.get("name") == name), None)


async def read_answer(response: aiohttp.ClientResponse, most: int) -> bytes | None:
    """The body of a 200 of at most so many bytes; None where it is another answer, or longer."""
    if response.status != 200:
        return None
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > most:
            return None
    return bytes(body)
