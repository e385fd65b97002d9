"""Signatures of requests, and the keys they are made with."""

import base64
import subprocess
import time
from pathlib import Path

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from standardwebhooks import Webhook, WebhookVerificationError

from chaski_core.message.envelope import HttpRequest
from chaski_core.retry.outcome import Outcome
from chaski_core.route.model import AllowRule, SigningScheme
from chaski_runtime.process.clock import SystemClock
from chaski_worker.delivery.attempt import AttemptContext
from chaski_worker.delivery.signing import RuleKeys, read_keys, sign, sign_requests, watch_keys
from chaski_worker.guard.guard import Guard
from chaski_worker.shortage.detection import ShortageError, ShortageReason

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


@pytest.mark.promise(14)
def test_a_recorded_request_is_of_no_use_to_who_sends_it_again() -> None:
    """Within the five minutes of the published library a target knows its id, as of each attempt; later it is refused; so is any change."""
    keys, target = read_keys([OLD, None]), Webhook(OLD.decode())
    now, body = int(time.time()), b'{"pay": 1}'
    recorded = dict(sign(keys, "m-1", now - 200, body))
    seen = {recorded["webhook-id"]}
    target.verify(body, recorded, json_parse=False)
    assert recorded["webhook-id"] in seen
    assert dict(sign(keys, "m-1", now, body))["webhook-id"] in seen, "a retry is the same message"
    assert dict(sign(keys, "m-2", now, body))["webhook-id"] not in seen
    refused = [
        (target, body, dict(sign(keys, "m-1", now - 400, body))),
        (target, body, dict(sign(keys, "m-1", now + 400, body))),
        (target, body, recorded | {"webhook-id": "m-9"}),
        (target, body, recorded | {"webhook-timestamp": str(now)}),
        (target, body + b" ", recorded),
        (Webhook(NEW.decode()), body, recorded),  # the target of a rule with a key of its own
    ]
    for each, content, headers in refused:
        with pytest.raises(WebhookVerificationError):
            each.verify(content, headers, json_parse=False)


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
    keys = watch_keys(tmp_path, SigningScheme.V1, lambda: now)

    def secrets() -> tuple[bytes, ...]:
        return tuple(key.secret for key in keys.value())

    assert secrets() == (b"o" * 24,)
    (tmp_path / "previous").write_bytes(OLD)
    (tmp_path / "current").write_bytes(b"whsec_" + NEW)
    assert secrets() == (b"o" * 24,)
    now = 10.0
    assert secrets() == (b"n" * 64, b"o" * 24)
    (tmp_path / "current").write_bytes(b"nonsense")
    for later in (20.0, 30.0, 40.0):
        now = later
        assert secrets() == (b"n" * 64, b"o" * 24)
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    (tmp_path / "current").write_bytes(NEW)
    (tmp_path / "previous").unlink()
    now = 50.0
    assert secrets() == (b"n" * 64,)


# ---- ed25519; the published library has only HMAC, so signatures are verified by the specification and another library

SEED = bytes(range(32))
PRIVATE = b"whsk_" + base64.b64encode(SEED)
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key()
PAIR = b"whsk_" + base64.b64encode(SEED + PUBLIC.public_bytes_raw())
OTHERS_PAIR = b"whsk_" + base64.b64encode(b"o" * 32 + PUBLIC.public_bytes_raw())


def verify_v1a(public: Ed25519PublicKey, body: bytes, headers: dict[str, str]) -> None:
    """As a target: one signature of the list must fit. Raises InvalidSignature."""
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    for each in headers["webhook-signature"].split(" "):
        version, _, text = each.partition(",")
        if version == "v1a":
            public.verify(base64.b64decode(text, validate=True), signed)
            return
    raise InvalidSignature


@pytest.mark.parametrize("current", [PRIVATE, PAIR, PRIVATE + b"\n"])
@pytest.mark.parametrize("body", [b"", b"{}", "ü".encode(), b"a.b.c\r\n"], ids=repr)
def test_a_target_verifies_ed25519_with_the_public_key_only(current: bytes, body: bytes) -> None:
    """And another body, id or time is refused."""
    headers = dict(sign(read_keys([current, None], SigningScheme.V1A), "m-1", 1_700_000_000, body))
    verify_v1a(PUBLIC, body, headers)
    changes = ({"webhook-id": "m-2"}, {"webhook-timestamp": "1700000001"})
    for wrong_body, wrong in ((body + b"x", {}), *((body, change) for change in changes)):
        with pytest.raises(InvalidSignature):
            verify_v1a(PUBLIC, wrong_body, {**headers, **wrong})


def test_targets_can_change_from_hmac_to_ed25519_during_a_rotation(monkeypatch: pytest.MonkeyPatch) -> None:
    """The previous key may be of the other scheme; both signatures are sent."""
    monkeypatch.setattr(Webhook, "_Webhook__verify_timestamp", lambda _self, text: _at(int(text)))
    headers = dict(sign(read_keys([PRIVATE, b"whsec_" + OLD], SigningScheme.V1A), "m-1", 1_700_000_000, b"{}"))
    verify_v1a(PUBLIC, b"{}", headers)
    Webhook(OLD.decode()).verify(b"{}", headers)
    back = dict(sign(read_keys([OLD, PRIVATE], SigningScheme.V1), "m-1", 1_700_000_000, b"{}"))
    assert sorted(back["webhook-signature"].split(" ")) == sorted(headers["webhook-signature"].split(" "))


@pytest.mark.parametrize(
    ("current", "scheme", "error"),
    [
        (b"whsec_" + NEW, SigningScheme.V1A, "`current` is not whsk_"),
        (base64.b64encode(SEED), SigningScheme.V1A, "`current` is not whsk_"),
        (b"whsk_" + base64.b64encode(b"s" * 33), SigningScheme.V1A, "`current` is not whsk_"),
        (OTHERS_PAIR, SigningScheme.V1A, "is a pair whose public key is another"),
        (PRIVATE, SigningScheme.V1, "`current` is not whsec_"),
    ],
)
def test_a_key_of_another_scheme_is_refused(current: bytes, scheme: SigningScheme, error: str) -> None:
    """So that a private key is never used as a shared one."""
    with pytest.raises(ValueError, match=error):
        read_keys([current, None], scheme)


def test_the_documented_commands_make_a_usable_pair(tmp_path: Path) -> None:
    """With openssl; the public key is the one that the target needs."""
    text = (Path(__file__).parents[4] / "docs" / "security.md").read_text(encoding="utf-8")
    block = next(part for part in text.split("```") if "openssl genpkey" in part)
    script = block.partition("\n")[2].partition("kubectl")[0]
    command = ["bash", "-euc", script + '\necho; printf \'%s\\n%s\' "$PRIVATE" "$PUBLIC"']
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    private, public = ran.stdout.splitlines()[-2:]
    (key,) = read_keys([private.encode(), None], SigningScheme.V1A)
    headers = dict(sign((key,), "m", 1, b"x"))
    verify_v1a(
        Ed25519PublicKey.from_public_bytes(base64.b64decode(public.removeprefix("whpk_"), validate=True)), b"x", headers
    )


@pytest.mark.promise(14)
async def test_each_rule_signs_with_its_own_key_and_one_without_usable_keys_sends_nothing(tmp_path: Path) -> None:
    """What one target can verify, it can't forge for another. Unusable keys are a shortage of their rule only."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "current").write_bytes(NEW)
    rules = {name: AllowRule(name, f"https://{name}.example/") for name in ("a", "b", "c")}
    keys = {
        rules[name]: RuleKeys(rules[name], tmp_path / name, SigningScheme.V1, SystemClock().monotonic)
        for name in ("a", "b")
    }
    middleware = sign_requests(keys, SystemClock())

    async def sent(name: str) -> dict[str, str]:
        headers: dict[str, str] = {}

        async def handler(attempt: AttemptContext) -> Outcome:
            headers.update(attempt.headers)
            return Outcome(None, 200)

        request = HttpRequest("POST", f"https://{name}.example/", (), b"{}")
        target = Guard(tuple(rules.values())).check(request.url)
        await middleware(AttemptContext("ns/r", "m-1", None, None, 1, None, request, target), handler)
        return headers

    Webhook(NEW.decode()).verify(b"{}", await sent("a"))
    assert await sent("c") == {}
    with pytest.raises(ShortageError) as raised:
        await sent("b")
    shortage = raised.value.shortage
    assert (shortage.reason, shortage.target, shortage.of_one_target) == (ShortageReason.CREDENTIALS, "b", True)
    assert "key `current` is missing" in shortage.detail
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "current").write_bytes(OLD)
    Webhook(OLD.decode()).verify(b"{}", await sent("b"))
