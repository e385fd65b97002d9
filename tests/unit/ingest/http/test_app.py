"""The endpoints of the HTTP API."""

import pytest

from chaski_ingest.http.app import BATCH, SINGLE, Endpoint, find_endpoint


@pytest.mark.parametrize(
    ("target", "kind"),
    [
        ("/v1/routes/helpdesk/conversations/messages", SINGLE),
        ("/v1/routes/helpdesk/conversations/messages?x=/", SINGLE),
        ("/v1/routes/helpdesk/conversations/messages:batch", BATCH),
        ("/v1/routes/helpdesk/conversations/messages%3Abatch", BATCH),
        ("http://ingest:8080/v1/routes/helpdesk/conversations/messages", SINGLE),
    ],
)
def test_a_routes_endpoint_is_found(target: str, kind: str) -> None:
    """In origin form and absolute form, with the colon encoded or not."""
    assert find_endpoint(target) == Endpoint("helpdesk", "conversations", kind)


@pytest.mark.parametrize(
    ("target", "path"),
    [
        ("/", "/"),
        ("*", "*"),
        ("/healthz", "/healthz"),
        ("/v1/routes/a/b/messages/", "/v1/routes/a/b/messages/"),
        ("/v1/routes/a/b", "/v1/routes/a/b"),
        ("/v2/routes/a/b/messages", "/v2/routes/a/b/messages"),
        ("/v1/routes/a%2Fb/messages/x", "/v1/routes/a/b/messages/x"),
        ("/v1/routes/a/b/messages:other?q", "/v1/routes/a/b/messages:other"),
    ],
)
def test_any_other_path_is_returned(target: str, path: str) -> None:
    """So that the response can name it."""
    assert find_endpoint(target) == path
