"""Names and passwords from a file."""

from pathlib import Path

import pytest

from chaski_console.auth.passwords import InvalidPasswordFileError, Passwords, read_passwords
from support.clocks import StillClock

ADA, BOB = "correct horse battery", "staple:with:colons"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two users."""
    made = tmp_path / "users"
    made.write_text(f"# users\nada:{ADA}\n\nbob:{BOB}\n")
    return made


def test_only_the_password_of_the_user_is_accepted(file: Path) -> None:
    """It may contain colons; other passwords and unknown users are rejected."""
    passwords = Passwords(file, StillClock().monotonic)
    assert passwords.check("ada", ADA)
    assert passwords.check("bob", BOB)
    for name, password in (
        ("ada", BOB),
        ("ada", ""),
        ("ada", ADA[:-1]),
        ("eve", ADA),
        ("", ""),
        ("ada\ud800", "ü\ud800"),
    ):
        assert not passwords.check(name, password)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no users"),
        ("# only words\n", "lists no users"),
        ("correct horse battery staple\n", "line 1: a password must have"),
        (":correct horse battery", "line 1 must be name:password"),
        (" ada:correct horse battery", "line 1 must be name:password"),
        ("ada:short", "line 1: a password must have 12 to 1024"),
        (f"ada:{'x' * 1025}", "line 1: a password must have"),
        (f"ada:{ADA}\nada:{ADA}", "line 2 "),
        ("\n".join(f"u{number}:{ADA}" for number in range(1001)), "more than 1000"),
    ],
)
def test_an_invalid_file_is_rejected(text: str, message: str) -> None:
    """With the number of the line, and without quoting the file."""
    with pytest.raises(InvalidPasswordFileError, match=message) as caught:
        read_passwords(text)
    assert "horse" not in str(caught.value)


def test_a_changed_file_is_reloaded(file: Path) -> None:
    """Within seconds; the fingerprint changes with the password, and removed users have none."""
    clock = StillClock()
    passwords = Passwords(file, clock.monotonic)
    fingerprint = passwords.fingerprint("ada")
    file.write_text("ada:another password now")
    assert passwords.check("ada", ADA)  # the file is not checked on each request
    clock.pass_time(6)
    assert not passwords.check("ada", ADA)
    assert passwords.check("ada", "another password now")
    assert passwords.fingerprint("ada") not in (fingerprint, None)
    assert passwords.fingerprint("bob") is None


@pytest.mark.parametrize("content", ["ada:short", None, b"ada:\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"])
def test_a_file_that_becomes_invalid_changes_nothing(
    file: Path, content: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """An error is logged, without quoting the file."""
    clock = StillClock()
    passwords = Passwords(file, clock.monotonic)
    file.unlink()
    if isinstance(content, str):
        file.write_text(content)
    elif content is not None:
        file.write_bytes(content)
    clock.pass_time(6)
    assert passwords.check("ada", ADA)
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    assert str(file) in caplog.text
    assert "short" not in caplog.text
