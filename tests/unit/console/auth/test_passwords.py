"""Names and hashes of passwords from a file."""

from pathlib import Path

import pytest

from chaski_console.auth.hashing import verify
from chaski_console.auth.passwords import InvalidPasswordFileError, Passwords, read_passwords, user_line
from support import console_users
from support.clocks import StillClock

ADA, BOB = "correct horse battery", "staple:with:colons"
HASH = console_users.user_line("ada", ADA).partition(":")[2]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Two users."""
    made = tmp_path / "users"
    made.write_text(f"# users\n{console_users.user_line('ada', ADA)}\n\n{console_users.user_line('bob', BOB)}\n")
    return made


def accepts(passwords: Passwords, name: str, password: str) -> bool:
    """Whether the user has this password."""
    return verify(passwords.entry(name), password, passwords.stand_in)


def test_only_the_password_of_the_user_is_accepted(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other passwords and unknown users are rejected."""
    passwords = Passwords(file, StillClock().monotonic)
    assert accepts(passwords, "ada", ADA)
    assert accepts(passwords, "bob", BOB)
    for name, password in (
        ("ada", BOB),
        ("ada", ""),
        ("ada", ADA[:-1]),
        ("ada", HASH),
        ("eve", ADA),
        ("", ""),
        ("ada\ud800", "ü\ud800"),
    ):
        assert not accepts(passwords, name, password)
    assert caplog.records == []


def test_plain_passwords_of_an_earlier_release_are_accepted(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """With one warning that names the file and the command, and neither a name nor a password; they may contain colons."""
    file.write_text(f"ada:{ADA}\nbob:{BOB}\n{console_users.user_line('eve', ADA)}\n")
    clock = StillClock()
    passwords = Passwords(file, clock.monotonic)
    assert [accepts(passwords, name, ADA) for name in ("ada", "bob", "eve")] == [True, False, True]
    assert accepts(passwords, "bob", BOB)
    file.write_text(f"ada:{ADA}\n")
    clock.pass_time(6)
    assert accepts(passwords, "ada", ADA)
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage() == (
        f"{file} holds the passwords of 2 users as plain text;"
        " replace each line with the output of: chaski hash-password NAME"
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lists no users"),
        ("# only words\n", "lists no users"),
        ("correct horse battery staple\n", "line 1: a password must have"),
        (":correct horse battery", "line 1 must be name:hash"),
        (" ada:correct horse battery", "line 1 must be name:hash"),
        ("ada:short", "line 1: a password must have 12 to 1024"),
        (f"ada:{'x' * 1025}", "line 1: a password must have"),
        (f"ada:{ADA}\nbob:$argon2id$horse", "line 2: the hash is not one of argon2id"),
        ("ada:$argon2id$v=19$m=9999999,t=1,p=1$YWFhYWFhYWE$YWFhYWFhYWFhYWFhYWFhYQ", "line 1: the hash takes more than"),
        (f"ada:{ADA}\nada:{ADA}", "line 2 lists a name for the second time"),
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
    assert fingerprint not in (None, passwords.fingerprint("bob"))
    file.write_text(console_users.user_line("ada", "another password now"))
    assert accepts(passwords, "ada", ADA)  # the file is not checked on each request
    clock.pass_time(6)
    assert not accepts(passwords, "ada", ADA)
    assert accepts(passwords, "ada", "another password now")
    assert passwords.fingerprint("ada") not in (fingerprint, None)
    assert passwords.fingerprint("bob") is None


def test_a_line_for_the_file_is_made_from_a_name_and_a_password() -> None:
    """And is read as such."""
    line = user_line("Ünal B.", ADA)
    (entry,) = read_passwords(line).items()
    assert (line.count("\n"), entry[0], verify(entry[1], ADA, HASH)) == (0, "Ünal B.", True)


@pytest.mark.parametrize(
    ("name", "password", "message"),
    [
        ("", ADA, "a name has"),
        (" ada", ADA, "a name has"),
        ("a:da", ADA, "a name has"),
        ("#ada", ADA, "a name has"),
        ("a\nda", ADA, "a name has"),
        ("x" * 129, ADA, "a name has"),
        ("ada", "horse", "12 to 1024"),
    ],
)
def test_no_line_is_made_that_could_not_be_read(name: str, password: str, message: str) -> None:
    """The error does not quote the password."""
    with pytest.raises(ValueError, match=message) as caught:
        user_line(name, password)
    assert "horse" not in str(caught.value)


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
    assert accepts(passwords, "ada", ADA)
    assert [each.levelname for each in caplog.records] == ["ERROR"]
    assert str(file) in caplog.text
    assert "short" not in caplog.text
