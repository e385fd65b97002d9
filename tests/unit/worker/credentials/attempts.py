"""Attempts under one rule, for the sources of credentials."""

from chaski_core.message.envelope import HttpRequest
from chaski_core.route.model import AllowRule
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.guard.guard import Guard

RULE = AllowRule("crm", "https://crm.example/in/")


def attempt(
    *headers: tuple[str, str], url: str = "https://crm.example/in/1?b=2&a=1", body: bytes | None = b"{}"
) -> AttemptContext:
    """One to a URL, which the rule covers unless another one is given."""
    request = HttpRequest("POST", url, headers, body)
    own = (("Chaski-Subject", "s"),)
    return AttemptContext("ns/r", "m-1", None, None, 1, None, request, Guard((RULE,)).check(url), own)
