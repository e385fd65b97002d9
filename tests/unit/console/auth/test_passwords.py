"""Names and passwords from a file."""

from pathlib import Path

import pytest

from chaski_console.auth.passwords import Passwords, WrongPasswordsError, read_passwords
from support.clocks import StillClock

ADA, BOB = "correct horse battery", "staple:with:colons"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two people."""
    made = tmp_path / "users"
    made.write_text(f"# who may sign in\nada:{ADA}\n\nbob:{BOB}\n")
    return made


def test_only_the_password_of_a_name_is_taken(file: Path) -> None:
    """Colons are a part of it; somebody else's is not taken, and nobody without a line gets in."""
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
    ("text", "told"),
    [
        ("", "names nobody"),
        ("# only words\n", "names nobody"),
        ("correct horse battery staple\n", "line 1: a password must have"),
        (":correct horse battery", "line 1 must be name:password"),
        (" ada:correct horse battery", "line 1 must be name:password"),
        ("ada:short", "line 1: a password must have 12 to 1024"),
        (f"ada:{'x' * 1025}", "line 1: a password must have"),
        (f"ada:{ADA}\nada:{ADA}", "line 2 names somebody for the second time"),
        ("\n".join(f"u{number}:{ADA}" for number in range(1001)), "names more than 1000"),
    ],
)
def test_a_file_that_is_wrong_is_refused(text: str, told: str) -> None:
    """With the line, and without a word of what it holds."""
    with pytest.raises(WrongPasswordsError, match=told) as caught:
        read_passwords(text)
    assert "horse" not in str(caught.value)


def test_a_changed_file_is_read_again(file: Path) -> None:
    """Within seconds; a password that is another has another mark, and a name that is gone has none."""
    clock = StillClock()
    passwords = Passwords(file, clock.monotonic)
    mark = passwords.mark("ada")
    file.write_text("ada:another password now")
    assert passwords.check("ada", ADA)  # not looked at for each request
    clock.pass_time(6)
    assert not passwords.check("ada", ADA)
    assert passwords.check("ada", "another password now")
    assert passwords.mark("ada") not in (mark, None)
    assert passwords.mark("bob") is None


@pytest.mark.parametrize("harm", ["ada:short", None, b"ada:\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"])
def test_a_file_that_becomes_wrong_changes_nothing(
    file: Path, harm: str | bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Said in the log, without a word of it."""
    clock = StillClock()
    passwords = Passwords(file, clock.monotonic)
    file.unlink()
    if isinstance(harm, str):
        file.write_text(harm)
    elif harm is not None:
        file.write_bytes(harm)
    clock.pass_time(6)
    assert passwords.check("ada", ADA)
    assert "going on with the passwords as they were" in caplog.text
    assert "short" not in caplog.text
