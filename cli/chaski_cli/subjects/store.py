"""Opens the records about waiting subjects of a data folder, also one in use, or of a resolved route on AWS."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from chaski_core.ports import AttemptRecord, ControlRecords, Failed, VisibilityChange
from chaski_core.route.resolved import ResolvedRoute
from chaski_replay.backends import BackendLocation, open_aws, open_folder


class Heads(Protocol):
    """The listing half of `ports.AttemptRecords`."""

    def hidden(self, route: str) -> AsyncIterator[tuple[str, AttemptRecord]]:
        """See `ports.AttemptRecords.hidden`."""
        ...


class HidingQueue(Protocol):
    """The part of `ports.Queue` that makes a head visible."""

    async def change_visibility(self, changes: Sequence[VisibilityChange]) -> Sequence[Failed | None]:
        """See `ports.Queue.change_visibility`."""
        ...


@dataclass(frozen=True, slots=True)
class SubjectStore:
    """Records and queues."""

    heads: Heads
    controls: ControlRecords
    queue: Callable[[str], HidingQueue]  # by its URL
    routes: Mapping[str, ResolvedRoute]  # by namespace/name


@contextlib.asynccontextmanager
async def open_store(location: BackendLocation) -> AsyncIterator[SubjectStore]:
    """Opens a location; a `chaski dev` may be running on the folder.

    Raises:
        CommandError: it does not exist, or can't be used as given.
        BackendError: it is unavailable.
    """
    if location.on_aws:
        resolved = location.read_resolved()
        async with open_aws(resolved) as aws:
            yield SubjectStore(aws.attempt_records, aws.control_records, aws.queue, {resolved.route.key: resolved})
        return
    async with open_folder(location.data) as (folder, routes):
        location.check_route(routes)
        yield SubjectStore(folder.attempt_records, folder.control_records, folder.queue, routes)
