"""Values that are made of files, when the files change or can't be used."""

import errno
import logging
from pathlib import Path

import pytest

from chaski_runtime.process.file_reloader import Contents, ReloadedFiles


class Files:
    """One watched file, a clock that the test moves, and what making the value raises."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "a"
        self.file.write_bytes(b"1")
        self.now = 0.0
        self.error: Exception | None = None
        self.made = 0
        self.watched = ReloadedFiles((self.file,), self.make, lambda: self.now)

    def make(self, contents: Contents) -> bytes:
        """The file's content."""
        self.made += 1
        if self.error is not None:
            raise self.error
        return contents[0] or b""

    def check(self) -> bytes:
        """The value ten seconds later."""
        self.now += 10
        return self.watched.value()


def test_a_changed_file_is_taken_up(tmp_path: Path) -> None:
    """And an unchanged one is not made anew."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    assert [files.watched.value(), files.check(), files.check()] == [b"1", b"2", b"2"]
    assert files.made == 2


def test_what_can_not_be_used_is_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The value stays as it was."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    files.error = ValueError("no certificate")
    with caplog.at_level(logging.ERROR):
        assert [files.check(), files.check()] == [b"1", b"1"]
    assert len(caplog.records) == 1


def test_a_file_that_could_not_be_opened_is_opened_again(tmp_path: Path) -> None:
    """For example for want of a descriptor: its contents were not the reason."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    files.error = OSError(errno.EMFILE, "Too many open files")
    assert files.check() == b"1"
    files.error = None
    assert files.check() == b"2"
