"""The lock that gives a data folder one owner; the operating system releases it with the process."""

import fcntl
import os
from pathlib import Path

from chaski_core.errors import BackendRejectedError


class FolderLock:
    """Held from `acquire` to `release`, or to the end of the process."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def acquire(cls, folder: Path) -> "FolderLock":
        """Acquires the lock of a folder. A missing folder is created, accessible by its owner only: messages hold secrets.

        Raises:
            BackendRejectedError: another process holds it.
            OSError: the folder can't be written.
        """
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
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
