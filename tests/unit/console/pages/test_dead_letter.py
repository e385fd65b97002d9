import pytest

from chaski_console.data.search import Search
from chaski_console.pages.dead_letter import REASONS, PageContext, dead_letter_page, document_text
from chaski_console.pages.dead_letters import SearchResult, dead_letters_page
from chaski_console.pages.layout import ANONYMOUS
from chaski_core.redaction import Redaction
from chaski_core.retry.ladder import ErrorNote, Reason
from unit.console.fakes import NOW, dead_letter

CONTEXT = PageContext(ANONYMOUS, "", may_act=False, now_ms=NOW)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_explained(reason: Reason) -> None:
    """Beside its code, which the command line and logs use."""
    page = dead_letter_page([dead_letter(reason=reason)], CONTEXT)
    assert reason.value in page
    assert REASONS[reason] in page


@pytest.mark.parametrize(
    ("search", "offers_all_time"),
    [
        (Search(), True),
        (Search(since="2h"), True),
        (Search(window="all"), False),
        (Search(window="all", until="1h"), True),
    ],
    ids=["default", "from", "all", "to"],
)
def test_an_empty_result_offers_to_search_all_time(search: Search, *, offers_all_time: bool) -> None:
    """Unless the search covered it."""
    page = dead_letters_page(search, SearchResult([]), (), CONTEXT)
    assert ('href="/dead-letters?window=all"' in page) is offers_all_time


@pytest.mark.parametrize(
    ("raw", "text"),
    [(b"{not json", "{not json"), (b"\xff", "\\xff"), (None, ""), (b"x" * 200_001, "x" * 200_000 + " \u2026")],
    ids=["text", "bytes", "nothing", "long"],
)
def test_a_message_that_is_not_an_envelope_is_shown_as_text(raw: bytes | None, text: str) -> None:
    """Bytes that are not UTF-8 as escape sequences; the end of a long one is cut off."""
    assert document_text(dead_letter(envelope=None, raw=raw)) == text


@pytest.mark.promise(14)
def test_redacted_parts_are_not_on_the_page() -> None:
    """Neither in the message nor in an error that repeats them."""
    envelope = {"subject": "s", "body": {"content": {"card": "4111-1111", "name": "Ada"}}}
    letter = dead_letter(
        envelope=envelope,
        errors=(ErrorNote("402", NOW, "status 402", "declined: 4111-1111"),),
        detail="for 4111-1111",
        redaction=Redaction(("/card",)),
    )
    page = dead_letter_page([letter], CONTEXT)
    assert "4111" not in page
    assert page.count("REDACTED") >= 3
    assert "Ada" in page
