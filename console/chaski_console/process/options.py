"""Options of `chaski console`, checked before the process listens."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from chaski_console.auth.authenticators import Authenticator, NoAuthentication, ProxyHeaderAuthentication
from chaski_console.auth.login import password_authentication
from chaski_console.auth.passwords import InvalidPasswordFileError
from chaski_console.process.routes import ClusterRoutes, FileRoutes, RouteSource, cluster_access
from chaski_core.message.target_url import is_loopback
from chaski_core.ports import Clock
from chaski_runtime.process.command_error import wrong_input
from chaski_runtime.process.http_server import shown_host

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RouteOptions:
    """Which routes the console shows."""

    files: tuple[Path, ...] = ()  # resolved routes, or folders of them
    kubernetes: bool = False
    namespaces: tuple[str, ...] = ()  # with `kubernetes`: only these

    def opener(self, clock: Clock) -> Callable[[], RouteSource]:
        """Returns a function that opens the routes; call it inside a running loop.

        Raises:
            CommandError: the options contradict each other, or a file or kubeconfig is invalid.
        """
        if self.kubernetes == bool(self.files):
            raise wrong_input("give either --resolved FILE|DIR, or --kubernetes for the routes of a cluster")
        if not self.kubernetes:
            if self.namespaces:
                raise wrong_input("--namespace requires --kubernetes")
            files = FileRoutes(self.files)
            return lambda: files
        access = cluster_access()
        return lambda: ClusterRoutes(access, self.namespaces, clock)

    @property
    def replay_command(self) -> tuple[str, ...]:
        """The command that replays what a search finds, without the search's flags."""
        is_one_file = len(self.files) == 1 and not self.files[0].is_dir()
        return ("chaski", "dead-letters", "replay", "--resolved", str(self.files[0]) if is_one_file else "FILE")


@dataclass(frozen=True, slots=True)
class AuthOptions:
    """How users authenticate."""

    mode: Literal["none", "header", "password"]
    header: str  # in which a proxy names the user
    password_file: Path | None
    session_seconds: int

    def authenticator(self, host: str, clock: Clock) -> Authenticator:
        """The authenticator of a console that listens on `host`.

        Raises:
            CommandError: the password file is missing or invalid, or the console would be open to other machines.
        """
        if self.password_file is not None and self.mode != "password":
            raise wrong_input("--password-file requires --auth password")
        if self.mode == "header":
            return ProxyHeaderAuthentication(self.header)
        if self.mode == "password":
            return self._password_authenticator(clock)
        if not is_loopback(host):
            raise wrong_input(
                f"--auth none requires a loopback address: everyone who can reach {shown_host(host)} could replay and discard",
                "use --auth password with --password-file FILE, or --auth header behind a proxy that authenticates users",
            )
        return NoAuthentication(host)

    def log_warning(self) -> None:
        """Logs what the safety of the console depends on, if it does not authenticate users itself."""
        if self.mode == "none":
            _log.warning("authentication is off: everyone who can reach the port may read, replay and discard")
        elif self.mode == "header":
            message = (
                "%s is trusted: only a proxy that sets it, and removes it from client requests, may reach the port"
            )
            _log.warning(message, self.header)

    def _password_authenticator(self, clock: Clock) -> Authenticator:
        if self.password_file is None:
            next_step = "write a line for each user into the file: chaski hash-password NAME >> FILE"
            raise wrong_input("--auth password requires --password-file FILE", next_step)
        try:
            return password_authentication(self.password_file, clock, self.session_seconds)
        except OSError as error:
            raise wrong_input(f"--password-file {self.password_file}: {error.strerror}") from error
        except InvalidPasswordFileError as error:
            raise wrong_input(f"--password-file {self.password_file}: {error}") from error


@dataclass(frozen=True, slots=True)
class ConsoleOptions:
    """All options of the process."""

    routes: RouteOptions
    host: str
    port: int
    metrics_port: int | None  # None: neither metrics nor health
    auth: AuthOptions
    read_only: bool
    log_format: Literal["console", "json"]
    prometheus_url: str | None = None  # None: rates are unknown
