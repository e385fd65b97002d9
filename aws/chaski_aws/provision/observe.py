"""Reads the observed state of a route from AWS. Changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import Any, TypeVar

from chaski_aws import names
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.state import (
    MANAGED_BY,
    MANAGED_BY_TAG,
    ROUTE_TAG,
    Observed,
    ObservedQueue,
    ObservedTable,
    is_ours,
    owner_of,
)
from chaski_aws.sqs.queue import counts_of
from chaski_core.ports import QueueCounts
from chaski_core.route import resolved as earlier
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute

_Value = TypeVar("_Value")
_CONCURRENCY = 8
_PAGE_SIZE = 1_000  # the most that ListQueues takes
_UNSUPPORTED = "UnknownOperationException"  # only from emulators; AWS has these operations
_NO_QUEUE = "QueueDoesNotExist"
_NO_TABLE = ("ResourceNotFoundException", "TableNotFoundException")


def observe(aws: Aws, route: Route, settings: ProvisionSettings, previous: ResolvedRoute | None = None) -> Observed:
    """The queues that carry a route's tags, other queues that stand in its way, and its table.

    Queues are found by name: those of this installation, and those of earlier releases. `previous`, the last resolved
    route, adds those that ListQueues does not return yet, and those that another installation named.

    Raises:
        ProvisionError: a read failed. Unknown is not absent.
    """
    known = [url.rpartition("/")[2] for url in _urls(previous)]
    urls = list_queues(aws, route, settings.owner, known)  # never those of `previous`, which came from a document
    listed = {*urls, *known}
    table = _find_table(aws, route, settings.owner, previous)
    found = observe_queues(aws, listed, urls)
    wanted = desired(route, _own(found, table, route, settings), settings).queues
    missing = [each for each in wanted if each.name not in found]  # ListQueues may lag
    found |= observe_queues(aws, {name for each in missing for name in (each.name, each.earlier_name)} - listed)
    own = _own(found, table, route, settings)
    wanted = desired(route, own, settings).queues
    names_of_ours = own.ours | {each.name for each in wanted}
    # Such a queue is the route's, of another installation or without its tags, unless it has another route's tags.
    names_of_earlier = {each.earlier_name for each in wanted}
    queues = {
        name: queue
        for name, queue in found.items()
        if name in names_of_ours
        or (name in names_of_earlier and not _belongs_to_another(queue.tags, route))
        or (name in known and owner_of(queue.tags, route) is not None)
    }
    return Observed(queues, table, own.ours)


def _own(
    found: Mapping[str, ObservedQueue], table: ObservedTable | None, route: Route, settings: ProvisionSettings
) -> Observed:
    ours = frozenset(name for name, queue in found.items() if is_ours(queue.tags, route, settings.owner))
    return Observed({name: found[name] for name in ours}, table, ours)


def _find_table(aws: Aws, route: Route, owner: str, previous: ResolvedRoute | None) -> ObservedTable | None:
    """The route's table: under its name in this installation, in the last resolved route, or in earlier releases."""
    remembered = previous.dead_letter_table if previous is not None else None
    for name in dict.fromkeys([names.table_name(route, owner), remembered, earlier.table_name(route)]):
        table = observe_table(aws, name) if name is not None else None
        if table is not None and not _belongs_to_another(table.tags or {}, route):
            return table
    return None


def _belongs_to_another(tags: Mapping[str, str], route: Route) -> bool:
    return tags.get(MANAGED_BY_TAG) == MANAGED_BY and tags.get(ROUTE_TAG, route.key) != route.key


def observe_owners(aws: Aws, route: Route, owner: str) -> frozenset[str]:
    """The installations whose tags for this route its queues and its table carry; empty where none of them exists.

    Args:
        aws: makes the calls.
        route: the route.
        owner: this installation. Another one's are found only under the names of earlier releases, which contain no
            installation.

    Raises:
        ProvisionError: a read failed.
    """
    listed = list_queues(aws, route, owner)
    tags = [queue.tags for queue in observe_queues(aws, listed, listed).values()]
    tables = (observe_table(aws, name) for name in (names.table_name(route, owner), earlier.table_name(route)))
    tags += [table.tags for table in tables if table is not None and table.tags]
    return frozenset(found for each in tags if (found := owner_of(each, route)) is not None)


def list_queues(aws: Aws, route: Route, owner: str, known: Iterable[str] = ()) -> dict[str, str]:
    """URLs, by name, of all queues that may be the route's: those with one of its prefixes.

    Args:
        aws: makes the calls.
        route: the route.
        owner: this installation.
        known: names of queues of the route, of which another installation may have named the first.
    """
    prefixes = {earlier.queue_name_prefix(route), names.queue_name_prefix(route, owner)}
    prefixes |= {prefix for name in known if (prefix := names.prefix_of(name, route)) is not None}
    return _by_name(url for prefix in sorted(prefixes) for url in _list_queues(aws, prefix))


def _list_queues(aws: Aws, prefix: str) -> list[str]:
    request: dict[str, Any] = {"QueueNamePrefix": prefix, "MaxResults": _PAGE_SIZE}
    found: list[str] = []
    while True:
        response = aws.call("sqs", "ListQueues", request)
        found.extend(response.get("QueueUrls", ()))
        if not response.get("NextToken"):
            return found
        request = {**request, "NextToken": response["NextToken"]}


def _by_name(urls: Iterable[str]) -> dict[str, str]:
    return {url.rpartition("/")[2]: url for url in urls}


def observe_queues(
    aws: Aws, wanted: Iterable[str], urls: Mapping[str, str] = MappingProxyType({})
) -> dict[str, ObservedQueue]:
    """Those of the named queues that exist, read concurrently. `urls`: by name, as far as known, which saves calls."""
    ordered = sorted(wanted)
    if not ordered:
        return {}
    with ThreadPoolExecutor(min(_CONCURRENCY, len(ordered)), "observe") as threads:
        found = list(threads.map(lambda name: observe_queue(aws, name, urls.get(name)), ordered))
    return {queue.name: queue for queue in found if queue is not None}


def observe_queue(aws: Aws, name: str, url: str | None = None) -> ObservedQueue | None:
    """One queue with its attributes and tags; None where it does not exist. `url`: None is read, by another call."""
    try:
        if url is None:
            url = str(aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"])
        response = aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
        tags = aws.call("sqs", "ListQueueTags", {"QueueUrl": url}).get("Tags", {})
    except ProvisionError as error:
        if error.code == _NO_QUEUE:
            return None
        raise
    return ObservedQueue(name, url, response.get("Attributes", {}), tags)


def counts(aws: Aws, url: str) -> QueueCounts:
    """The message counts of a queue, in one call. Approximate, and up to a minute old."""
    attributes = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    return counts_of(
        aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": attributes})["Attributes"]
    )


def observe_table(aws: Aws, name: str) -> ObservedTable | None:
    """The table with its tags, expiry and backups; None where it does not exist."""
    try:
        description = aws.call("dynamodb", "DescribeTable", {"TableName": name})["Table"]
    except ProvisionError as error:
        if error.code in _NO_TABLE:
            return None
        raise
    status = str(description["TableStatus"])
    tags = _if_supported(lambda: _table_tags(aws, str(description["TableArn"])))
    if status in ("CREATING", "DELETING"):
        return ObservedTable(name, status, description, tags, {}, None if tags is None else False)
    expiry = aws.call("dynamodb", "DescribeTimeToLive", {"TableName": name}).get("TimeToLiveDescription", {})
    return ObservedTable(name, status, description, tags, expiry, _if_supported(lambda: _recovery(aws, name)))


def _if_supported(read: Callable[[], _Value]) -> _Value | None:
    try:
        return read()
    except ProvisionError as error:
        if error.code == _UNSUPPORTED:
            return None
        raise


def _table_tags(aws: Aws, arn: str) -> Mapping[str, str]:
    tags: dict[str, str] = {}
    request = {"ResourceArn": arn}
    while True:
        response = aws.call("dynamodb", "ListTagsOfResource", request)
        tags.update({tag["Key"]: tag["Value"] for tag in response.get("Tags", ())})
        if not response.get("NextToken"):
            return tags
        request = {"ResourceArn": arn, "NextToken": response["NextToken"]}


def _recovery(aws: Aws, name: str) -> bool:
    backups = aws.call("dynamodb", "DescribeContinuousBackups", {"TableName": name})["ContinuousBackupsDescription"]
    return bool(backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED")


def _urls(resolved: ResolvedRoute | None) -> list[str]:
    if resolved is None:
        return []
    partitions = [url for each in resolved.generations for urls in each.queues.values() for url in urls]
    return [*partitions, *(each.url for each in (*resolved.rungs, *resolved.retired_rungs))]
