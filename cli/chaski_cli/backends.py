"""What commands work on: the dead letters and queues of a data folder, or of a resolved route on AWS."""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from chaski_aws.backend import RouteTable, open_backend
from chaski_cli.errors import CommandError, wrong_input
from chaski_core.errors import BackendRejectedError, InvalidRouteError
from chaski_core.ports import DeadLetterStore, Failed, OutgoingMessage, Sent
from chaski_core.route.resolved import ResolvedRoute
from chaski_core.route.resolved_document import load_resolved
from chaski_embedded.backend import EmbeddedBackend
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.control.client import find_owner
from chaski_embedded.provision import resolved_routes
from chaski_embedded.storage import schema
from chaski_embedded.storage.reader import Reader, open_reader
from chaski_runtime.process.clock import SystemClock
from chaski_runtime.process.corrected_clock import CorrectedClock


class Sender(Protocol):
    """A queue, as far as it takes messages."""

    @property
    def atomic_batches(self) -> bool:
        """Whether a batch is sent as a whole or not at all."""
        ...

    async def send(self, messages: Sequence[OutgoingMessage]) -> Sequence[Sent | Failed]:
        """As `ports.Queue.send`."""
        ...


@dataclass(frozen=True, slots=True)
class BackendLocation:
    """What the command line names."""

    data: Path  # of `chaski dev`
    route: Path | None = None  # a resolved route on AWS; it goes before `data`

    @property
    def flags(self) -> str:
        """The same as flags."""
        return f"--data {self.data}" if self.route is None else f"--route {self.route}"

    @property
    def name(self) -> str:
        """For people."""
        return str(self.data if self.route is None else self.route)


@dataclass(frozen=True, slots=True)
class OpenBackend:
    """Dead letters and queues."""

    dead_letters: DeadLetterStore
    queue: Callable[[str], Sender]
    routes: Mapping[str, ResolvedRoute]  # by namespace/name


@contextlib.asynccontextmanager
async def open_location(where: BackendLocation) -> AsyncIterator[OpenBackend]:
    """Opens what the command line names, to read and to change; a `chaski dev` may be running on the folder.

    Raises:
        CommandError: there is no such thing.
        BackendError: it can't be used now.
    """
    opening = _open_folder(where.data) if where.route is None else _open_aws(where.route)
    async with opening as opened:
        yield opened


@contextlib.asynccontextmanager
async def _open_aws(file: Path) -> AsyncIterator[OpenBackend]:
    resolved = read_resolved_file(file)
    route = resolved.route
    try:
        backend = await open_backend(
            RouteTable(str(resolved.dead_letter_table), route.retention_days), CorrectedClock(SystemClock())
        )
    except BackendRejectedError as error:
        raise CommandError(str(error), next_step="set AWS_DEFAULT_REGION and credentials") from error
    try:
        yield OpenBackend(backend.dead_letters, backend.queue, {route.key: resolved})
    finally:
        await backend.close()


@contextlib.asynccontextmanager
async def _open_folder(folder: Path) -> AsyncIterator[OpenBackend]:
    with open_folder_reader(folder):
        pass  # it is one, and of this release
    routes = _routes(folder)
    owner = await find_owner(folder)
    if owner is not None:
        async with owner:
            yield OpenBackend(owner.dead_letters, owner.queue, routes)
        return
    broker = await EmbeddedBroker.open(folder, SystemClock())
    try:
        backend = EmbeddedBackend(broker)
        yield OpenBackend(backend.dead_letters, backend.queue, routes)
    finally:
        await broker.close()


def read_resolved_file(file: Path) -> ResolvedRoute:
    """The one resolved route of a file.

    Raises:
        CommandError: it holds none or several, or one without a table.
    """
    try:
        routes = load_resolved(file.read_text("utf-8"))
    except OSError as error:
        raise wrong_input(f"--route {file}: {error.strerror}", "name what `chaski provision` wrote") from error
    except (UnicodeDecodeError, InvalidRouteError) as error:
        raise wrong_input(f"--route {file}: {error}", "name what `chaski provision` wrote") from error
    if len(routes) != 1:
        raise wrong_input(
            f"--route {file}: holds {len(routes)} routes, and one is needed",
            "give `chaski provision` a folder (-o DIR/): it then writes a file for each",
        )
    if routes[0].dead_letter_table is None:
        raise wrong_input(f"--route {file}: names no table of dead letters", "run `chaski provision` again")
    return routes[0]


def open_folder_reader(data: Path) -> Reader:
    """The data folder of a `chaski dev`, to read only. CommandError: there is none."""
    if not data.is_dir():
        raise wrong_input(f"there is no folder {data}", "name the --data of `chaski dev`; its default is ./.chaski")
    return open_reader(data)


def _routes(folder: Path) -> dict[str, ResolvedRoute]:
    try:
        with contextlib.closing(schema.connect_reader(folder / schema.FILE_NAME)) as connection:
            return {resolved.route.key: resolved for resolved in resolved_routes(connection)}
    except sqlite3.Error as error:
        raise CommandError(f"{folder} can't be read: {error}") from error
