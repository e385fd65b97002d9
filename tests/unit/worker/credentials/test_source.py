"""Credentials that are added to requests: under their rule only, and never repeated in an outcome."""

import pytest

from chaski_core.retry.outcome import ErrorClass, Outcome
from chaski_core.route.model import AllowRule
from chaski_worker.credentials.files import bearer
from chaski_worker.credentials.source import Credential, authenticate, redacted, with_headers
from chaski_worker.delivery.attempt import AttemptContext
from unit.worker.credentials.attempts import RULE, attempt

TOKEN = "tok-1234567890"
DENIED = Outcome(ErrorClass.CLIENT_ERROR, 401, "HTTP 401 Unauthorized")
OK = Outcome(None, 200)


class Tokens:
    """A source with a number of tokens, each of which `renew` replaces by the next one."""

    def __init__(self, *tokens: str) -> None:
        self._tokens = list(tokens)

    async def credential(self, _: AttemptContext) -> Credential:
        return bearer(self._tokens[0])

    async def renew(self, rejected: Credential) -> bool:
        assert rejected == bearer(self._tokens[0])
        if len(self._tokens) == 1:
            return False
        self._tokens.pop(0)
        return True

    async def close(self) -> None:
        """Nothing to close."""


async def run(tokens: Tokens, given: AttemptContext, *outcomes: Outcome) -> tuple[Outcome, list[AttemptContext]]:
    """The outcome of one attempt, and what was sent for it."""
    sent: list[AttemptContext] = []

    async def handler(each: AttemptContext) -> Outcome:
        sent.append(each)
        return outcomes[len(sent) - 1]

    return await authenticate({RULE: tokens})(given, handler), sent


async def test_the_rules_credential_replaces_the_messages_in_any_spelling() -> None:
    """Other headers stay, in order; the request is otherwise the same."""
    given = attempt(("X-A", "1"), ("authorization", "Bearer theirs"), ("AUTHORIZATION", "x"), ("X-B", "2"))
    outcome, (sent,) = await run(Tokens(TOKEN), given, OK)
    assert outcome is OK
    assert sent.request.headers == (("X-A", "1"), ("X-B", "2"))
    assert list(sent.headers) == [("Chaski-Subject", "s"), ("Authorization", f"Bearer {TOKEN}")]
    spelled = with_headers(attempt(("X_Api_Key", "theirs")), Credential((("X-Api-Key", "ours"),), ("ours",)))
    assert spelled.request.headers == ()


@pytest.mark.promise(14)
@pytest.mark.parametrize("url", ["https://other.example/in/", "not a URL", "https://crm.example/elsewhere"])
async def test_a_request_under_another_rule_or_under_none_has_no_credential(url: str) -> None:
    """Its context is passed on as it is, so it costs nothing."""
    given = attempt(("Authorization", "theirs"), url=url)
    _, (sent,) = await run(Tokens(TOKEN), given, OK)
    assert sent is given


@pytest.mark.promise(4)
@pytest.mark.parametrize(
    ("tokens", "outcomes", "sent", "status"),
    [
        (("one-one-one", "two-two-two"), (DENIED, OK), ["one-one-one", "two-two-two"], 200),
        (("one-one-one", "two-two-two"), (DENIED, DENIED), ["one-one-one", "two-two-two"], 401),
        (("one-one-one",), (DENIED,), ["one-one-one"], 401),
        (("one-one-one", "two-two-two"), (Outcome(ErrorClass.CLIENT_ERROR, 403),), ["one-one-one"], 403),
    ],
)
async def test_a_401_is_answered_once_by_another_credential(
    tokens: tuple[str, ...], outcomes: tuple[Outcome, ...], sent: list[str], status: int
) -> None:
    """A second one is the target's decision, and so is every other status."""
    outcome, requests = await run(Tokens(*tokens), attempt(), *outcomes)
    assert [dict(each.headers)["Authorization"] for each in requests] == [f"Bearer {token}" for token in sent]
    assert outcome.status == status


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"you sent {TOKEN}, {TOKEN}!", "you sent [redacted], [redacted]!"),
        (f"you sent Bearer {TOKEN[:-1]}", "you sent Bearer [redacted]"),
        (f"you sent Bearer {TOKEN[:8]}", "you sent Bearer [redacted]"),
        ("nothing to hide", "nothing to hide"),
        ("", ""),
    ],
)
def test_an_outcome_repeats_no_secret(text: str, shown: str) -> None:
    """Neither whole, nor cut off where the excerpt ends."""
    outcome = redacted(Outcome(ErrorClass.CLIENT_ERROR, 400, text, text), (TOKEN,))
    assert (outcome.detail, outcome.excerpt) == (shown, shown)


def test_credentials_do_not_show_in_representations() -> None:
    """Such as those in tracebacks and logs."""
    assert TOKEN not in repr(bearer(TOKEN))
    assert TOKEN not in repr({AllowRule("a", "https://a.example/"): bearer(TOKEN)})
