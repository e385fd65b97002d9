"""Values made of files, when the files change or are invalid."""

import errno
import logging
from pathlib import Path

import pytest

from chaski_runtime.process.file_reloader import Contents, ReloadedFiles


class Files:
    """One file, a clock that the test moves, and the error that making the value raises."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "a"
        self.file.write_bytes(b"1")
        self.now = 0.0
        self.error: Exception | None = None
        self.made = 0
        self.reloaded = ReloadedFiles((self.file,), self.make, lambda: self.now)

    def make(self, contents: Contents) -> bytes:
        """The file's content."""
        self.made += 1
        if self.error is not None:
            raise self.error
        return contents[0] or b""

    def check(self) -> bytes:
        """The value ten seconds later."""
        self.now += 10
        return self.reloaded.value()


def test_a_changed_file_is_reloaded(tmp_path: Path) -> None:
    """The value of an unchanged file is not made again."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    assert [files.reloaded.value(), files.check(), files.check()] == [b"1", b"2", b"2"]
    assert files.made == 2


def test_invalid_contents_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The old value is kept."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    files.error = ValueError("no certificate")
    with caplog.at_level(logging.ERROR):
        assert [files.check(), files.check()] == [b"1", b"1"]
    assert len(caplog.records) == 1


def test_a_file_that_could_not_be_opened_is_opened_again(tmp_path: Path) -> None:
    """For example after a lack of descriptors, which is not a fault of its contents."""
    files = Files(tmp_path)
    files.file.write_bytes(b"2")
    files.error = OSError(errno.EMFILE, "Too many open files")
    assert files.check() == b"1"
    files.error = None
    assert files.check() == b"2"
