"""Reads the observed state of a route from AWS. Changes nothing."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.state import Observed, ObservedQueue, ObservedTable, generations_of, is_ours, owner_of
from chaski_aws.sqs.queue import counts_of
from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute, queue_name_prefix, table_name

_Value = TypeVar("_Value")
_CONCURRENCY = 8
_PAGE_SIZE = 1_000  # the most that ListQueues takes
_UNSUPPORTED = "UnknownOperationException"  # only from emulators; AWS has these operations
_NO_QUEUE = "QueueDoesNotExist"
_NO_TABLE = ("ResourceNotFoundException", "TableNotFoundException")


def observe(aws: Aws, route: Route, settings: ProvisionSettings, previous: ResolvedRoute | None = None) -> Observed:
    """The queues that carry a route's tags, other queues with names that it needs, and its table.

    Queues are found by name; `previous`, the last resolved route, adds those that ListQueues does not return yet.

    Raises:
        ProvisionError: a read failed. Unknown is not absent.
    """
    names = {*list_queue_names(aws, route), *(url.rpartition("/")[2] for url in _urls(previous))}
    found = observe_queues(aws, names)
    ours = {name for name, queue in found.items() if is_ours(queue.tags, route, settings.owner)}
    known = generations_of({found[name].url: found[name].tags for name in ours})
    wanted = desired(route, known, settings).names
    found |= observe_queues(aws, wanted - names)  # ListQueues may lag
    ours = {name for name, queue in found.items() if is_ours(queue.tags, route, settings.owner)}
    queues = {name: queue for name, queue in found.items() if name in ours | wanted}
    return Observed(queues, observe_table(aws, table_name(route)), frozenset(ours))


def observe_owners(aws: Aws, route: Route) -> frozenset[str]:
    """The installations whose tags for this route its queues and its table carry; empty where none of them exists.

    Raises:
        ProvisionError: a read failed.
    """
    tags = [queue.tags for queue in observe_queues(aws, list_queue_names(aws, route)).values()]
    table = observe_table(aws, table_name(route))
    if table is not None and table.tags:
        tags.append(table.tags)
    return frozenset(owner for each in tags if (owner := owner_of(each, route)) is not None)


def list_queue_names(aws: Aws, route: Route) -> list[str]:
    """Names of all queues that may be the route's: those with its prefix."""
    request: dict[str, Any] = {"QueueNamePrefix": queue_name_prefix(route), "MaxResults": _PAGE_SIZE}
    names: list[str] = []
    while True:
        response = aws.call("sqs", "ListQueues", request)
        names.extend(url.rpartition("/")[2] for url in response.get("QueueUrls", ()))
        if not response.get("NextToken"):
            return names
        request = {**request, "NextToken": response["NextToken"]}


def observe_queues(aws: Aws, names: Iterable[str]) -> dict[str, ObservedQueue]:
    """Those of the named queues that exist, read concurrently."""
    wanted = sorted(names)
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(_CONCURRENCY, len(wanted)), "observe") as threads:
        found = list(threads.map(lambda name: observe_queue(aws, name), wanted))
    return {queue.name: queue for queue in found if queue is not None}


def observe_queue(aws: Aws, name: str) -> ObservedQueue | None:
    """One queue with its attributes and tags; None where it does not exist."""
    try:
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
    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    return counts_of(aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": names})["Attributes"])


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
