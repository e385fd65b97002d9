"""What is made of files that change while the process runs, such as a mounted Secret."""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

_log = logging.getLogger(__name__)
T = TypeVar("T")

Contents = Sequence[bytes | None]  # in the files' order; None: there is no such file


class ReloadedFiles(Generic[T]):
    """A value that is made of files, and made anew when they change.

    Looked at when asked for, at most every few seconds: a kubelet brings a changed Secret in about a minute. What can't
    be used leaves the value as it was, and is told of, once.
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
            make: makes the value of their contents; raises ValueError or OSError where it can't.
            monotonic: seconds.
            every_seconds: between two looks.

        Raises:
            ValueError, OSError: the value can't be made of what is there now.
        """
        self._files = tuple(files)
        self._make = make
        self._monotonic = monotonic
        self._every = every_seconds
        self._contents = self._read()
        self._value = make(self._contents)
        self._next = monotonic() + every_seconds

    def value(self) -> T:
        """The value of now."""
        if self._monotonic() >= self._next:
            self._next = self._monotonic() + self._every
            self._look()
        return self._value

    def _look(self) -> None:
        try:
            contents = self._read()
        except OSError as error:
            self._log_unusable(error)
            return
        if contents == self._contents:
            return
        try:
            self._value = self._make(contents)
        except (OSError, ValueError) as error:
            # Contents that can't be used are logged once; a file that could not be opened is opened again at the next check.
            if isinstance(error, ValueError | ssl.SSLError):
                self._contents = contents
            self._log_unusable(error)
        else:
            self._contents = contents
            _log.info("%s has changed and is used from now on", self._files[0].parent)

    def _log_unusable(self, error: Exception) -> None:
        _log.error("%s can't be used, going on with what was there before: %s", self._files[0].parent, error)

    def _read(self) -> list[bytes | None]:
        return [file.read_bytes() if file.is_file() else None for file in self._files]
