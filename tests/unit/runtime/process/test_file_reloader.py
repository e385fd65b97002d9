"""Values made of files, when the files change or are invalid."""

import errno
import logging
from pathlib import Path

import pytest

from chaski_core.errors import FieldError, InvalidRouteError
from chaski_runtime.process.file_reloader import Contents, Reloaded, ReloadedFiles


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


def test_an_unreadable_file_is_logged_once_and_used_again_once_it_can_be_read(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The last value is kept; the same error is not logged at each check, and the end of it is."""
    files = Files(tmp_path)
    aside = tmp_path / "aside"
    files.file.rename(aside)
    files.file.symlink_to("/proc/self/mem")  # is a file, and reading it fails, also for root
    with caplog.at_level(logging.INFO):
        assert [files.check(), files.check(), files.check()] == [b"1", b"1", b"1"]
        aside.replace(files.file)
        assert [files.check(), files.check()] == [b"1", b"1"]
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    files.file.write_bytes(b"2")
    assert files.check() == b"2"


def test_a_second_error_is_logged_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It shows what is still wrong after a first repair."""
    files = Files(tmp_path)
    for number in (2, 3):
        files.file.write_bytes(str(number).encode())
        files.error = ValueError(f"fault {number}")
        files.check()
        files.check()
    assert len(caplog.records) == 2


def test_invalid_contents_of_any_kind_are_survived(tmp_path: Path) -> None:
    """A route file that is invalid raises an exception of its own."""
    file = tmp_path / "a"
    file.write_bytes(b"1")

    def make(content: bytes) -> bytes:
        if content == b"2":
            raise InvalidRouteError([FieldError("spec", "is missing")])
        return content

    reloaded = Reloaded("a", file.read_bytes, make)
    for content, changed, value in ((b"2", False, b"1"), (b"1", True, b"1"), (b"3", True, b"3")):
        file.write_bytes(content)
        assert reloaded.refresh() is changed
        assert reloaded.current == value
