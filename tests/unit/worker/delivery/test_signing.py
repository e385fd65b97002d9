"""Signatures of requests, and the keys they are made with."""

import base64
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chaski_worker.delivery.signing import read_keys, sign, watch_keys

OLD, NEW = base64.b64encode(b"o" * 24), base64.b64encode(b"n" * 64)


def test_the_specifications_own_example_comes_out() -> None:
    """Secret, id, time, body and signature as the specification's reference libraries test them."""
    keys = read_keys([b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None])
    headers = sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", "ü".encode(), b"a.b.c\r\n"], ids=repr)
def test_a_target_with_either_key_verifies_while_keys_change(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the published library; one that has neither does not."""
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _self, text: _at(int(text)))
    headers = dict(sign(read_keys([b"whsec_" + NEW + b"\n", OLD]), "m-1", 1_700_000_000, body))
    for key in (OLD, NEW):
        Webhook(key.decode()).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(b"x" * 24).decode()).verify(body, headers, json_parse=False)


def _at(seconds: int) -> object:
    from datetime import UTC, datetime  # noqa: PLC0415 - what the library makes of the header

    return datetime.fromtimestamp(seconds, tz=UTC)


def test_an_id_with_dots_can_not_be_taken_for_another_id_and_time() -> None:
    """The dot ends the id in what is signed."""
    keys = read_keys([NEW, None])
    first, second = dict(sign(keys, "a.1", 2, b"x")), dict(sign(keys, "a", 1, b"2.x"))
    assert first["webhook-id"] == "a~1"
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("current", "previous", "told"),
    [
        (None, OLD, "no key `current`"),
        (b"", None, "`current` is not whsec_"),
        (b"secret!", None, "`current` is not whsec_"),
        (base64.b64encode(b"s" * 23), None, "`current` is not whsec_"),
        (base64.b64encode(b"s" * 65), None, "`current` is not whsec_"),
        (NEW, b"whsec_c2VjcmV0", "`previous` is not whsec_"),
    ],
)
def test_what_is_no_key_is_refused_without_being_repeated(
    current: bytes | None, previous: bytes | None, told: str
) -> None:
    """The sentence says which, and never what it holds."""
    with pytest.raises(ValueError, match=told) as raised:
        read_keys([current, previous])
    assert "secret!" not in str(raised.value)
    assert "c2VjcmV0" not in str(raised.value)


def test_changed_keys_are_taken_up_and_broken_ones_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Looked at every ten seconds; what can't be used is told of once."""
    now = 0.0
    (tmp_path / "current").write_bytes(OLD)
    keys = watch_keys(tmp_path, lambda: now)
    assert keys.value() == (b"o" * 24,)
    (tmp_path / "previous").write_bytes(OLD)
    (tmp_path / "current").write_bytes(b"whsec_" + NEW)
    assert keys.value() == (b"o" * 24,)
    now = 10.0
    assert keys.value() == (b"n" * 64, b"o" * 24)
    (tmp_path / "current").write_bytes(b"nonsense")
    for later in (20.0, 30.0, 40.0):
        now = later
        assert keys.value() == (b"n" * 64, b"o" * 24)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    (tmp_path / "current").write_bytes(NEW)
    (tmp_path / "previous").unlink()
    now = 50.0
    assert keys.value() == (b"n" * 64,)
