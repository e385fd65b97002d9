"""Values made of files that change while the process runs, such as a mounted Secret."""

import logging
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from chaski_core.errors import InvalidInputError

_log = logging.getLogger(__name__)
C = TypeVar("C")
T = TypeVar("T")

Contents = Sequence[bytes | None]  # in the files' order; None: the file does not exist


class Reloaded(Generic[C, T]):
    """A value made of contents that are read again at each `refresh`.

    While the files can't be read, or their contents are invalid, the last valid value is kept. Each error is logged once,
    and a file that can be read again, or has new contents, is used at the next refresh.
    """

    def __init__(self, name: str, read: Callable[[], C], make: Callable[[C], T]) -> None:
        """Reads the contents.

        Args:
            name: what is read, such as a path, for the log.
            read: the current contents, which are compared by `==`; raises OSError or ValueError where they can't be read.
            make: makes the value of contents; raises ValueError, OSError or InvalidInputError for invalid ones.

        Raises:
            ValueError, OSError, InvalidInputError: the current contents are invalid.
        """
        self._name = name
        self._read = read
        self._make = make
        self._contents = read()
        self._error: str | None = None  # the last one that was logged, until it is over
        self._is_used = True  # `_contents` are those of the value; otherwise they are invalid
        self.current = make(self._contents)

    def refresh(self) -> bool:
        """Reads the contents again; True if they were new, and `current` was made of them."""
        try:
            contents = self._read()
        except (OSError, ValueError) as error:
            self._log_error(error)
            return False
        if contents == self._contents:
            if self._is_used and self._error is not None:
                self._error = None
                _log.info("%s can be used again", self._name)
            return False
        try:
            self.current = self._make(contents)
        except (OSError, ValueError, InvalidInputError) as error:
            # Invalid contents need no second try; an error of the system, such as a lack of descriptors, may pass.
            if isinstance(error, ssl.SSLError) or not isinstance(error, OSError):
                self._contents, self._is_used = contents, False
            self._log_error(error)
            return False
        self._contents, self._is_used, self._error = contents, True, None
        _log.info("%s has changed; using the new contents", self._name)
        return True

    def _log_error(self, error: Exception) -> None:
        if self._error != str(error):
            self._error = str(error)
            _log.error("could not use the new contents of %s, keeping the old ones: %s", self._name, error)


class ReloadedFiles(Reloaded[Contents, T]):
    """A value made of a few files, which are checked when the value is read, at most every few seconds.

    A kubelet updates a changed Secret in about a minute.
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
            files: their paths, in one folder.
            make: makes the value of their contents; raises ValueError or OSError for invalid ones.
            monotonic: seconds.
            every_seconds: between two checks.

        Raises:
            ValueError, OSError: the current contents are invalid.
        """
        super().__init__(
            str(files[0].parent), lambda: [file.read_bytes() if file.is_file() else None for file in files], make
        )
        self._monotonic = monotonic
        self._every = every_seconds
        self._next = monotonic() + every_seconds

    def value(self) -> T:
        """The current value."""
        if self._monotonic() >= self._next:
            self._next = self._monotonic() + self._every
            self.refresh()
        return self.current
