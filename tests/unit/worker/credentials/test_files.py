"""Headers from Secrets, and the token of a ServiceAccount."""

from pathlib import Path

import pytest

from chaski_core.route.model import HeaderSecret
from chaski_worker.credentials.files import header_credentials, token_credentials
from chaski_worker.shortage.detection import ShortageError, ShortageReason
from support.clocks import StillClock
from unit.worker.credentials.attempts import RULE, attempt

HEADERS = (HeaderSecret("Authorization", "crm", "token"), HeaderSecret("X-Api-Key", "other", "key"))


def write(folder: Path, token: bytes = b"Bearer abcdefgh\n", key: bytes = b"k-12345678") -> None:
    """Both Secrets."""
    for secret, name, content in (("crm", "token", token), ("other", "key", key)):
        (folder / secret).mkdir(exist_ok=True)
        (folder / secret / name).write_bytes(content)


async def test_headers_have_the_values_of_their_secrets(tmp_path: Path) -> None:
    """Without the line break that editors and `kubectl create secret --from-file` leave at the end."""
    write(tmp_path)
    source = header_credentials(RULE, HEADERS, tmp_path, StillClock().monotonic)
    credential = await source.credential(attempt())
    assert credential.headers == (("Authorization", "Bearer abcdefgh"), ("X-Api-Key", "k-12345678"))
    assert set(credential.secrets) == {"Bearer abcdefgh", "abcdefgh", "k-12345678"}


@pytest.mark.promise(14)
@pytest.mark.parametrize(
    "value",
    [
        *(
            b"a\r\nX-Admin: 1",
            b"a\nX-Admin: 1",
            b"a\rb",
            b"a\0b",
            b"a\r\n\r\nGET / HTTP/1.1",
            "gr\u00fc\u00dfe".encode(),
        ),
        *(b"a\x7f", b"", b"\n", b" a", b"a ", b"a\n\n", b"x" * 8_193),
    ],
    ids=repr,
)
async def test_a_value_that_could_split_a_request_is_never_sent(tmp_path: Path, value: bytes) -> None:
    """The rule's messages wait; the error names the file and does not repeat the value."""
    write(tmp_path, token=value)
    source = header_credentials(RULE, HEADERS, tmp_path, StillClock().monotonic)
    with pytest.raises(ShortageError) as raised:
        await source.credential(attempt())
    shortage = raised.value.shortage
    assert (shortage.reason, shortage.target) == (ShortageReason.CREDENTIALS, "crm")
    assert str(tmp_path / "crm" / "token") in shortage.detail
    assert "X-Admin" not in shortage.detail
    assert shortage.detail.isprintable()


async def test_a_rotated_value_is_used_within_ten_seconds_or_at_once_after_a_401(tmp_path: Path) -> None:
    """And an invalid one is not."""
    clock = StillClock()
    write(tmp_path)
    source = header_credentials(RULE, HEADERS, tmp_path, clock.monotonic)
    first = await source.credential(attempt())
    assert not await source.renew(first)
    write(tmp_path, key=b"second-key")
    assert await source.credential(attempt()) == first
    assert await source.renew(first)
    second = await source.credential(attempt())
    assert second.headers[1] == ("X-Api-Key", "second-key")
    write(tmp_path, key=b"third\r\nkey")
    clock.pass_time(10)
    assert await source.credential(attempt()) == second
    assert not await source.renew(second)
    write(tmp_path, key=b"third-key")
    clock.pass_time(10)
    assert (await source.credential(attempt())).headers[1] == ("X-Api-Key", "third-key")


async def test_the_token_of_a_service_account_is_read_where_the_kubelet_writes_it(tmp_path: Path) -> None:
    """A folder for each rule, which can't be a Secret's."""
    source = token_credentials(RULE, tmp_path, StillClock().monotonic)
    with pytest.raises(ShortageError, match="_tokens/crm/token does not exist"):
        await source.credential(attempt())
    (tmp_path / "_tokens" / "crm").mkdir(parents=True)
    (tmp_path / "_tokens" / "crm" / "token").write_text("ey.J.x")
    assert (await source.credential(attempt())).headers == (("Authorization", "Bearer ey.J.x"),)
