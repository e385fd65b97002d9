"""Opens the dead letters and queues of a data folder, or of a resolved route on AWS."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
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
class BackendLocation:
    """The data folder of a `chaski dev`, or the file of a resolved route on AWS."""

    data: Path
    route: Path | None = None  # takes precedence over `data`

    @property
    def flags(self) -> tuple[str, str]:
        """As given on the command line."""
        return ("--data", str(self.data)) if self.route is None else ("--route", str(self.route))

    @property
    def name(self) -> str:
        """For messages to the user."""
        return str(self.data if self.route is None else self.route)


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
    opening = _open_folder(location.data) if location.route is None else _open_aws(location.route)
    async with opening as backend:
        yield backend


@contextlib.asynccontextmanager
async def _open_aws(file: Path) -> AsyncIterator[OpenBackend]:
    resolved = read_resolved_file(file)
    async with open_aws(resolved) as backend:
        yield OpenBackend(backend.dead_letters, backend.queue, {resolved.route.key: resolved})


@contextlib.asynccontextmanager
async def open_aws(resolved: ResolvedRoute) -> AsyncIterator["AwsBackend"]:
    """Opens queues and table of a route on AWS. Raises CommandError where region or credentials are missing."""
    from chaski_aws.backend import RouteTable, open_backend  # noqa: PLC0415 - 8 MiB with botocore; not for a data folder

    table = RouteTable(str(resolved.dead_letter_table), resolved.route.retention_days)
    try:
        backend = await open_backend(table, CorrectedClock(SystemClock()))
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error
    try:
        yield backend
    finally:
        await backend.close()


@contextlib.asynccontextmanager
async def _open_folder(folder: Path) -> AsyncIterator[OpenBackend]:
    async with open_folder(folder) as (backend, routes):
        yield OpenBackend(backend.dead_letters, backend.queue, routes)


@contextlib.asynccontextmanager
async def open_folder(folder: Path) -> AsyncIterator[tuple[EmbeddedBackend | RemoteOwner, dict[str, ResolvedRoute]]]:
    """Opens the queues and stores of a data folder, or those of the process that owns it now, and reads its routes.

    Raises:
        CommandError: it does not exist, or can't be read.
    """
    with open_folder_reader(folder):
        pass  # checks that it is a data folder of this release
    routes = _folder_routes(folder)
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


def read_resolved_file(file: Path) -> ResolvedRoute:
    """The resolved route of a file.

    Raises:
        CommandError: the file does not hold exactly one, or one without a table.
    """
    try:
        routes = load_resolved(file.read_text("utf-8"))
    except OSError as error:
        raise wrong_input(f"--route {file}: {error.strerror}", _NAME_RESOLVED) from error
    except (UnicodeDecodeError, InvalidRouteError) as error:
        raise wrong_input(f"--route {file}: {error}", _NAME_RESOLVED) from error
    if len(routes) != 1:
        raise wrong_input(
            f"--route {file}: expected one route, got {len(routes)}",
            "give `chaski provision` a folder (-o DIR/): it then writes one file per route",
        )
    if routes[0].dead_letter_table is None:
        raise wrong_input(f"--route {file}: the dead-letter table is missing", "run `chaski provision` again")
    return routes[0]


def open_folder_reader(data: Path) -> Reader:
    """Opens the data folder of a `chaski dev` for reading. Raises CommandError if it does not exist."""
    if not data.is_dir():
        raise wrong_input(
            f"folder {data} not found", "give --data the folder of `chaski dev`; its default is ./.chaski"
        )
    return open_reader(data)


def _folder_routes(folder: Path) -> dict[str, ResolvedRoute]:
    """By namespace/name."""
    try:
        with contextlib.closing(schema.connect_reader(folder / schema.FILE_NAME)) as connection:
            return {resolved.route.key: resolved for resolved in resolved_routes(connection)}
    except sqlite3.Error as error:
        raise CommandError(f"can't read {folder}: {error}") from error
