"""The lock of a data folder, and what another user may have prepared in that folder."""

import os
import stat
from pathlib import Path

import pytest

from chaski_core.errors import BackendRejectedError
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.storage.folder_lock import FolderLock
from support.clocks import SteppedClock

CONTENT = "alias ll='ls -l'"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A data folder that exists."""
    made = tmp_path / "data"
    made.mkdir(mode=0o700)
    return made


@pytest.mark.promise(14)
@pytest.mark.parametrize("name", ["lock", "chaski.db", "chaski.db-wal", "chaski.db-shm", "control"])
@pytest.mark.parametrize("exists", [True, False], ids=["of a file", "of nothing"])
async def test_nothing_is_written_through_a_symbolic_link(
    folder: Path, clock: SteppedClock, name: str, exists: bool
) -> None:
    """Another user who can make one there would have files of this user truncated, made private, or created."""
    victim = folder.parent / "profile"
    if exists:
        victim.write_text(CONTENT)
        victim.chmod(0o644)
    (folder / name).symlink_to(victim)
    with pytest.raises(BackendRejectedError, match=f"{name} in it is a symbolic link") as raised:
        await EmbeddedBroker.open(folder, clock)
    assert raised.value.code == "DataUnusable"
    assert victim.exists() is exists
    if exists:
        assert (victim.read_text(), stat.S_IMODE(victim.stat().st_mode)) == (CONTENT, 0o644)


@pytest.mark.promise(14)
def test_a_link_that_appears_after_the_check_is_not_followed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock is the file that is truncated."""
    victim = folder.parent / "profile"
    victim.write_text(CONTENT)
    real = os.open

    def swapped(path: Path, *arguments: int) -> int:
        Path(path).symlink_to(victim)
        return real(path, *arguments)

    monkeypatch.setattr(os, "open", swapped)
    with pytest.raises(OSError, match="symbolic links"):
        FolderLock.acquire(folder)
    assert victim.read_text() == CONTENT


@pytest.mark.parametrize(("mode", "warned"), [(0o700, False), (0o775, False), (0o777, True), (0o1777, True)])
def test_a_folder_that_others_can_write_is_reported(
    folder: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    """They can replace each file at any time, which no check prevents."""
    folder.chmod(mode)
    FolderLock.acquire(folder).release()
    assert [record.levelname for record in caplog.records] == (["WARNING"] if warned else [])
    assert all(str(folder) in record.getMessage() for record in caplog.records)


def test_a_second_owner_is_refused_with_the_process_of_the_first(folder: Path) -> None:
    """Until the first releases it."""
    first = FolderLock.acquire(folder)
    with pytest.raises(BackendRejectedError, match=f"in use by process {os.getpid()}: "):
        FolderLock.acquire(folder)
    first.release()
    FolderLock.acquire(folder).release()
