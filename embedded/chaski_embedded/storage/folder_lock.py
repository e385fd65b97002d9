"""The lock that gives a data folder one owner; the operating system releases it with the process."""

import errno
import fcntl
import logging
import os
import stat
from pathlib import Path

from chaski_core.errors import BackendRejectedError
from chaski_embedded.storage.schema import FILE_NAME

_log = logging.getLogger(__name__)
_LOCK = "lock"
_OWN = (_LOCK, "control", FILE_NAME, *(f"{FILE_NAME}-{each}" for each in ("wal", "shm", "journal")))


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> "FolderLock":
        """Acquires the lock of a folder. A missing folder is created, accessible by its owner only: messages hold secrets.

        Raises:
            BackendRejectedError: another process holds it.
            OSError: the folder can't be written, or has a symbolic link, through which files elsewhere would be changed.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        _check(folder)
        descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise BackendRejectedError(
                "DataInUse",
                f"{folder} is in use by {'process ' + owner if owner else 'another process'}: stop it, or use another "
                "data folder",
            ) from None
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(descriptor)

    def release(self) -> None:
        """Releases the lock. The file stays: if it were deleted, two processes could lock two files of the same name."""
        os.close(self._descriptor)


def _check(folder: Path) -> None:
    """Refuses symbolic links in place of files of the folder; warns where another user can replace these.

    A user who prepared the folder could let this process truncate, chmod or write a file that only it may write.
    """
    for name in _OWN:
        if (folder / name).is_symlink():
            raise OSError(
                errno.ELOOP, f"{name} in it is a symbolic link, so data would be written elsewhere: remove it"
            )
    found = folder.stat()
    if found.st_uid not in (0, os.geteuid()) or found.st_mode & stat.S_IWOTH:
        _log.warning(
            "other users can replace the files in %s: use a folder that only this user can write (chmod 700)", folder
        )
