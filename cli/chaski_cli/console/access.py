"""Who may see the console: what the command line says of it, judged before anything listens."""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaski_cli.errors import wrong_input
from chaski_console.auth.authenticators import Authenticator, NoAuthentication, ProxyHeaderAuthentication, is_loopback
from chaski_console.auth.login import password_authentication
from chaski_console.auth.passwords import WrongPasswordsError
from chaski_core.ports import Clock

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """What was asked for."""

    auth: Literal["none", "header", "password"]
    header: str  # in which a proxy names the user
    password_file: Path | None
    session_seconds: int

    def door(self, host: str, clock: Clock) -> Authenticator:
        """What judges who asks, on a console that listens on that address.

        Raises:
            CommandError: there is no password file, it can't be used, or the console would be open to others.
        """
        if self.password_file is not None and self.auth != "password":
            raise wrong_input("--password-file goes with --auth password")
        if self.auth == "header":
            return ProxyHeaderAuthentication(self.header)
        if self.auth == "password":
            return self._passwords(clock)
        if not is_loopback(host):
            raise wrong_input(
                f"--auth none: {host} is no address of this machine alone, and whoever reaches it could replay and discard",
                "use --auth password with --password-file FILE, or --auth header behind a proxy that asks people who they are",
            )
        return NoAuthentication(host)

    def tell(self) -> None:
        """Says in the log what stands between strangers and the console, where that is little."""
        if self.auth == "none":
            _log.warning("there is no authentication: whoever reaches the port may see, replay and discard")
        elif self.auth == "header":
            told = "%s is believed: only the proxy that sets it, and drops it from what people send, may reach the port"
            _log.warning(told, self.header)

    def _passwords(self, clock: Clock) -> Authenticator:
        if self.password_file is None:
            raise wrong_input("--auth password needs --password-file FILE", "write lines of name:password into a file")
        try:
            return password_authentication(self.password_file, clock, self.session_seconds)
        except OSError as error:
            raise wrong_input(f"--password-file {self.password_file}: {error.strerror}") from error
        except WrongPasswordsError as error:
            raise wrong_input(f"--password-file {self.password_file}: {error}") from error
