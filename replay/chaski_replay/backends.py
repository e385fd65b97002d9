"""Opens the dead letters and queues of a data folder, or of a route on AWS: by the file of the resolved route, or by its cluster."""

import contextlib
import re
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from chaski_core.errors import BackendRejectedError, InvalidRouteError
from chaski_core.ports import DeadLetterStore, Failed, OutgoingMessage, Sent
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.client import RemoteOwner, find_owner
from chaski_embedded.provision import resolved_routes
from chaski_embedded.storage import schema
from chaski_embedded.storage.reader import Reader, open_reader
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.command_error import CommandError, wrong_input
from chaski_runtime.process.corrected_clock import CorrectedClock

if TYPE_CHECKING:
    from chaski_aws.backend import AwsBackend

_NAME_RESOLVED = "give the file that `chaski provision` wrote"
_REGION = re.compile(
    r"https://(?:sqs|queue|sqs-fips)\.([a-z0-9-]+)\."
)  # https://docs.aws.amazon.com/general/latest/gr/sqs-service.html


class Sender(Protocol):
    """The sending half of `ports.Queue`."""

    @property
    def atomic_batches(self) -> bool:
        """Whether a batch is stored as a whole or not at all."""
        ...

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """See `ports.Queue.send`."""
        ...


@dataclass(frozen=True, slots=True)
class ClusterRoute:
    """A route as its cluster reports it."""

    resolved: ResolvedRoute
    arguments: tuple[str, ...]  # of `kubectl chaski`, which found it


@dataclass(frozen=True, slots=True)
class BackendLocation:
    """The data folder of a `chaski dev`, or a route on AWS."""

    data: Path
    resolved: Path | None = None  # file of resolved routes; takes precedence over `data`
    route: str | None = None  # namespace/name: only this route
    cluster: ClusterRoute | None = None  # takes precedence over both

    @property
    def on_aws(self) -> bool:
        """Whether the route is on AWS, and not in a data folder."""
        return self.resolved is not None or self.cluster is not None

    @property
    def name(self) -> str:
        """For messages to the user."""
        return self.cluster.resolved.route.key if self.cluster is not None else str(self.resolved or self.data)

    def command(self, *words: str) -> list[str]:
        """The command line of another command of the CLI on this location, such as `dead-letters replay`."""
        if self.cluster is not None:
            return ["kubectl", "chaski", words[-1], *self.cluster.arguments]
        place = ("--data", str(self.data)) if self.resolved is None else ("--resolved", str(self.resolved))
        return ["chaski", *words, *place, *(() if self.route is None else ("--route", self.route))]

    def read_resolved(self) -> ResolvedRoute:
        """The route on AWS.

        Raises:
            CommandError: the file can't be used, or it is not clear which of its routes is meant.
        """
        if self.cluster is not None:
            return self.cluster.resolved
        if self.resolved is None:
            raise wrong_input("--resolved is missing", _NAME_RESOLVED)
        routes = {each.route.key: each for each in read_resolved_file(self.resolved)}
        if self.route is None and len(routes) > 1:
            raise wrong_input(
                f"--resolved {self.resolved}: it has {len(routes)} routes",
                f"add --route with one of: {_listed(routes)}",
            )
        self.check_route(routes)
        return routes[self.route or next(iter(routes))]

    def check_route(self, known: Iterable[str]) -> None:
        """Raises CommandError if the wanted route is none of those known here, by namespace/name."""
        known = list(known)
        if self.route is not None and self.route not in known:
            raise wrong_input(f"--route {self.route}: {self.name} has no such route", f"known routes: {_listed(known)}")


@dataclass(frozen=True, slots=True)
class OpenBackend:
    """Dead letters and queues."""

    dead_letters: DeadLetterStore
    queue: Callable[[str], Sender]  # by its URL
    routes: Mapping[str, ResolvedRoute]  # by namespace/name


@contextlib.asynccontextmanager
async def open_location(location: BackendLocation) -> AsyncIterator[OpenBackend]:
    """Opens a location for reading and writing; a `chaski dev` may be running on the folder.

    Raises:
        CommandError: it does not exist, or can't be used as given.
        BackendError: it is unavailable.
    """
    if location.on_aws:
        resolved = location.read_resolved()
        async with open_aws(resolved) as aws:
            yield OpenBackend(aws.dead_letters, aws.queue, {resolved.route.key: resolved})
        return
    async with open_folder(location.data) as (folder, routes):
        location.check_route(routes)
        yield OpenBackend(folder.dead_letters, folder.queue, routes)


@contextlib.asynccontextmanager
async def open_aws(resolved: ResolvedRoute) -> AsyncIterator["AwsBackend"]:
    """Opens queues and table of a route on AWS, where no region is configured in that of its queues.

    Raises:
        CommandError: the configuration of AWS can't be used.
    """
    from chaski_aws.backend import RouteTable, open_backend  # noqa: PLC0415 - 8 MiB with botocore; not for a data folder
    from chaski_aws.http.endpoints import session_with_region  # noqa: PLC0415 - as above

    table = RouteTable(str(resolved.dead_letter_table), resolved.route.retention_days)
    region = _REGION.match(next(iter(resolved.current.queues.values()))[0])
    try:
        backend = await open_backend(
            table,
            CorrectedClock(SystemClock()),
            open_session=session_with_region(None if region is None else region[1]),
        )
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error
    try:
        yield backend
    finally:
        await backend.close()


@contextlib.asynccontextmanager
async def open_folder(folder: Path) -> AsyncIterator[tuple[EmbeddedBackend | RemoteOwner, dict[str, ResolvedRoute]]]:
    """Opens the queues and stores of a data folder, or those of the process that owns it now, and reads its routes.

    Raises:
        CommandError: it does not exist, or can't be read.
    """
    with open_folder_reader(folder):
        pass  # checks that it is a data folder of this release
    routes = folder_routes(folder)
    owner = await find_owner(folder)
    if owner is not None:
        async with owner:
            yield owner, routes
        return
    broker = await EmbeddedBroker.open(folder, SystemClock())
    try:
        yield EmbeddedBackend(broker), routes
    finally:
        await broker.close()


def read_resolved_file(file: Path) -> list[ResolvedRoute]:
    """The resolved routes of a file.

    Raises:
        CommandError: the file has none, can't be read, or has one without a table.
    """
    try:
        routes = load_resolved(file.read_text("utf-8"))
    except OSError as error:
        raise wrong_input(f"--resolved {file}: {error.strerror}", _NAME_RESOLVED) from error
    except (UnicodeDecodeError, InvalidRouteError) as error:
        raise wrong_input(f"--resolved {file}: {error}", _NAME_RESOLVED) from error
    without = [each.route.key for each in routes if each.dead_letter_table is None]
    if without:
        raise wrong_input(
            f"--resolved {file}: the dead-letter table of {_listed(without)} is missing", "run `chaski provision` again"
        )
    return routes


def open_folder_reader(data: Path) -> Reader:
    """Opens the data folder of a `chaski dev` for reading. Raises CommandError if it does not exist."""
    if not data.is_dir():
        raise wrong_input(
            f"folder {data} not found", "give --data the folder of `chaski dev`; its default is ./.chaski"
        )
    return open_reader(data)


def folder_routes(folder: Path) -> dict[str, ResolvedRoute]:
    """The routes of a data folder by namespace/name. Raises CommandError where it can't be read."""
    try:
        with contextlib.closing(schema.connect_reader(folder / schema.FILE_NAME)) as connection:
            return {resolved.route.key: resolved for resolved in resolved_routes(connection)}
    except sqlite3.Error as error:
        raise CommandError(f"can't read {folder}: {error}") from error


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "none"
