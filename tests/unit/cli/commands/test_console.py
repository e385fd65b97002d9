"""`chaski hash-password`, as a process."""

import os
import pty
import subprocess
import sys

import pytest

from chaski_console.auth.hashing import stand_in, verify
from chaski_console.auth.passwords import read_passwords

COMMAND = [sys.executable, "-m", "chaski_cli", "hash-password"]
PASSWORD = "correct horse bättery"


def is_line_of_ada(output: str) -> bool:
    """Whether this is one line that gives ada the password."""
    (entry,) = read_passwords(output).items()
    return (output.count("\n"), entry[0], verify(entry[1], PASSWORD, stand_in([]))) == (1, "ada", True)


@pytest.mark.parametrize("end", ["", "\n", "\r\n", "\nanother line\n"], ids=["no-end", "line", "windows", "lines"])
def test_a_password_is_read_from_standard_input(end: str) -> None:
    """Its first line; the output is a line for the password file."""
    ended = subprocess.run(
        [*COMMAND, "ada"], input=f"{PASSWORD}{end}".encode(), capture_output=True, check=True, timeout=60
    )
    assert is_line_of_ada(ended.stdout.decode())
    assert ended.stderr == b""


def test_on_a_terminal_the_password_is_asked_for_twice() -> None:
    """And not shown; the prompts are not in the output, so that it can be redirected into the file."""
    terminal, end = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "ada"], stdin=end, stdout=subprocess.PIPE, stderr=end, start_new_session=True, text=True
    )
    os.close(end)
    shown = ""
    for prompt in ("Password: ", "Repeat for confirmation: "):  # the space is written when the echo is off
        while prompt not in shown:
            shown += os.read(terminal, 1_024).decode()
        os.write(terminal, f"{PASSWORD}\n".encode())
    output, _ = process.communicate(timeout=60)
    os.close(terminal)
    assert process.returncode == 0
    assert is_line_of_ada(output)
    assert PASSWORD not in shown


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("ada", b"short", "12 to 1024 characters"),
        ("ada", b"", "12 to 1024 characters"),
        ("a:da", b"correct horse battery", "a name has"),
        ("ada", b"\xff" * 20, "not UTF-8 text"),
    ],
    ids=["short", "nothing", "name", "not-utf-8"],
)
def test_an_invalid_name_or_password_is_rejected(name: str, given: bytes, message: str) -> None:
    """Exit code 2 and a sentence that does not quote the password."""
    ended = subprocess.run([*COMMAND, name], input=given, capture_output=True, check=False, timeout=60)
    error = ended.stderr.decode()
    assert (ended.returncode, ended.stdout, message in error) == (2, b"", True), error
    assert "Traceback" not in error
    assert "short" not in error
