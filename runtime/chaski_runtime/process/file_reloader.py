"""Values made of files that change while the process runs, such as a mounted Secret."""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")

Contents = Sequence[bytes | None]  # in the files' order; None: the file does not exist


class ReloadedFiles(Generic[T]):
    """A value made of files, and made again when they change.

    The files are checked when the value is read, at most every few seconds: a kubelet updates a changed Secret in about a
    minute. If the new contents are invalid, the old value is kept and one error is logged.
    """

    def __init__(
        self,
        files: Sequence[Path],
        make: Callable[[Contents], T],
        monotonic: Callable[[], float],
        every_seconds: float = 10.0,
    ) -> None:
        """Reads the files.

        Args:
            files: their paths.
            make: makes the value of their contents; raises ValueError or OSError for invalid ones.
            monotonic: seconds.
            every_seconds: between two checks.

        Raises:
            ValueError, OSError: the current contents are invalid.
        """
        self._files = tuple(files)
        self._make = make
        self._monotonic = monotonic
        self._every = every_seconds
        self._contents = self._read()
        self._value = make(self._contents)
        self._next = monotonic() + every_seconds

    def value(self) -> T:
        """The current value."""
        if self._monotonic() >= self._next:
            self._next = self._monotonic() + self._every
            self._check()
        return self._value

    def _check(self) -> None:
        try:
            contents = self._read()
        except OSError as error:
            self._log_error(error)
            return
        if contents == self._contents:
            return
        try:
            self._value = self._make(contents)
        except (OSError, ValueError) as error:
            # Invalid contents are logged once; a file that could not be opened is opened again at the next check.
            if isinstance(error, ValueError | ssl.SSLError):
                self._contents = contents
            self._log_error(error)
        else:
            self._contents = contents
            _log.info("%s has changed; using the new contents", self._files[0].parent)

    def _log_error(self, error: Exception) -> None:
        _log.error("could not use the new contents of %s, keeping the old ones: %s", self._files[0].parent, error)

    def _read(self) -> list[bytes | None]:
        return [file.read_bytes() if file.is_file() else None for file in self._files]
