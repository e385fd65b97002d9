"""The UNIX socket of the control API, in a folder that only the owner of the data folder can enter."""

import os
import stat
import sys
from pathlib import Path

FOLDER_NAME = "control"
SOCKET_NAME = "socket"
MAX_PATH_BYTES = 103  # without the final NUL; sockaddr_un holds 104 bytes on macOS and BSD, 108 on Linux (unix(7))


class SocketAddress:
    """The path to give to `bind` and `connect`. It is valid until `close`."""

    def __init__(self, folder: Path) -> None:
        """Resolves the address.

        Args:
            folder: the data folder.

        Raises:
            OSError: there is no control folder, or the path is too long for a socket.
        """
        control = folder.absolute() / FOLDER_NAME
        self._descriptor = -1
        self.path = str(control / SOCKET_NAME)
        if len(os.fsencode(self.path)) <= MAX_PATH_BYTES:
            control.stat()
        elif sys.platform == "linux":
            # Through a descriptor of the folder the path is short, however long the folder's own path is.
            self._descriptor = os.open(control, os.O_PATH | os.O_DIRECTORY)
            self.path = f"/proc/self/fd/{self._descriptor}/{SOCKET_NAME}"
        else:
            raise OSError(f"{folder}: the path is too long for a socket: choose a folder with a shorter path")

    def unlink(self) -> None:
        """Removes the socket, if it exists."""
        Path(self.path).unlink(missing_ok=True)

    def close(self) -> None:
        """Ends the validity of the path."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def make_control_folder(folder: Path) -> None:
    """Makes the folder of the socket, for its owner only, also where a folder with other permissions exists.

    Connecting needs the right to enter this folder, so the socket is private from the moment of its bind.

    Raises:
        OSError: it can't be made, or belongs to another user.
    """
    control = folder / FOLDER_NAME
    control.mkdir(mode=0o700, exist_ok=True)
    if stat.S_IMODE(control.stat().st_mode) != 0o700:
        control.chmod(0o700)
