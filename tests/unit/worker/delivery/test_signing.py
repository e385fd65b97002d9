"""Signatures of requests, and the keys they are made with."""

import base64
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chaski_worker.delivery.signing import read_keys, sign, watch_keys

OLD, NEW = base64.b64encode(b"o" * 24), base64.b64encode(b"n" * 64)


def test_the_example_of_the_specification() -> None:
    """Secret, id, time, body and signature of the specification's reference libraries' tests."""
    keys = read_keys([b"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", None])
    headers = sign(keys, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, b'{"test": 2432232314}')
    assert headers == [
        ("webhook-id", "msg_p5jXN8AQM9LWM0D4loKWxJek"),
        ("webhook-timestamp", "1614265330"),
        ("webhook-signature", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="),
    ]


@pytest.mark.parametrize("body", [b"", b"{}", "ü".encode(), b"a.b.c\r\n"], ids=repr)
def test_a_target_with_either_key_verifies_during_rotation(body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Verified by the published library; a target with neither key rejects it."""
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _self, text: _at(int(text)))
    headers = dict(sign(read_keys([b"whsec_" + NEW + b"\n", OLD]), "m-1", 1_700_000_000, body))
    for key in (OLD, NEW):
        Webhook(key.decode()).verify(body, headers, json_parse=False)
    with pytest.raises(WebhookVerificationError):
        Webhook(base64.b64encode(b"x" * 24).decode()).verify(body, headers, json_parse=False)


def _at(seconds: int) -> object:
    from datetime import UTC, datetime  # noqa: PLC0415 - the library's type for the header

    return datetime.fromtimestamp(seconds, tz=UTC)


def test_an_id_with_dots_can_not_be_taken_for_another_id_and_time() -> None:
    """The dot ends the id in the signed text."""
    keys = read_keys([NEW, None])
    first, second = dict(sign(keys, "a.1", 2, b"x")), dict(sign(keys, "a", 1, b"2.x"))
    assert first["webhook-id"] == "a~1"
    assert first["webhook-signature"] != second["webhook-signature"]


@pytest.mark.parametrize(
    ("current", "previous", "error"),
    [
        (None, OLD, "`current` is missing"),
        (b"", None, "`current` is not whsec_"),
        (b"secret!", None, "`current` is not whsec_"),
        (base64.b64encode(b"s" * 23), None, "`current` is not whsec_"),
        (base64.b64encode(b"s" * 65), None, "`current` is not whsec_"),
        (NEW, b"whsec_c2VjcmV0", "`previous` is not whsec_"),
    ],
)
def test_an_invalid_key_is_refused_without_being_repeated(
    current: bytes | None, previous: bytes | None, error: str
) -> None:
    """The error names the key, and never contains it."""
    with pytest.raises(ValueError, match=error) as raised:
        read_keys([current, previous])
    assert "secret!" not in str(raised.value)
    assert "c2VjcmV0" not in str(raised.value)


def test_changed_keys_are_loaded_and_invalid_ones_are_not(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Files are read every ten seconds; an invalid one is logged once."""
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
