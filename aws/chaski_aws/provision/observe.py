"""Looks at what is there. Reads only."""

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from chaski_aws.provision.clients import Aws
from chaski_aws.provision.desired import desired
from chaski_aws.provision.errors import ProvisionError
from chaski_aws.provision.generations import generations_of
from chaski_aws.provision.settings import ProvisionSettings, is_ours
from chaski_aws.provision.state import Observed, ObservedQueue, ObservedTable, counts_of
from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import ResolvedRoute, queue_name_prefix, table_name

_Told = TypeVar("_Told")
_SIDE_BY_SIDE = 8
_LISTED_AT_ONCE = 1_000  # the most that ListQueues takes
_NOT_OFFERED = "UnknownOperationException"  # said by stand-ins; AWS has these operations
_NO_QUEUE = "QueueDoesNotExist"
_NO_TABLE = ("ResourceNotFoundException", "TableNotFoundException")


def survey(aws: Aws, route: Route, settings: ProvisionSettings, remembered: ResolvedRoute | None = None) -> Observed:
    """Everything of a route that is there: all queues that carry its tags, all others of names that it needs, its table.

    Queues are found by name; `remembered`, where there is one, adds those that a list does not tell yet.

    Raises:
        ProvisionError: something can't be seen. Unknown is not absent.
    """
    names = {*listed_names(aws, route), *(url.rpartition("/")[2] for url in _urls(remembered))}
    found = observe_queues(aws, names)
    ours = {name for name, queue in found.items() if is_ours(queue.tags, route, settings)}
    known = generations_of({found[name].url: found[name].tags for name in ours})
    wanted = desired(route, known, settings).names
    found |= observe_queues(aws, wanted - names)  # a list may lag behind
    ours = {name for name, queue in found.items() if is_ours(queue.tags, route, settings)}
    queues = {name: queue for name, queue in found.items() if name in ours | wanted}
    return Observed(queues, observe_table(aws, table_name(route)), frozenset(ours))


def listed_names(aws: Aws, route: Route) -> list[str]:
    """Names of all queues that may be the route's: those that begin as its do."""
    request: dict[str, Any] = {"QueueNamePrefix": queue_name_prefix(route), "MaxResults": _LISTED_AT_ONCE}
    names: list[str] = []
    while True:
        answer = aws.call("sqs", "ListQueues", request)
        names.extend(url.rpartition("/")[2] for url in answer.get("QueueUrls", ()))
        if not answer.get("NextToken"):
            return names
        request = {**request, "NextToken": answer["NextToken"]}


def observe_queues(aws: Aws, names: Iterable[str]) -> dict[str, ObservedQueue]:
    """The queues of those names that exist, side by side."""
    wanted = sorted(names)
    if not wanted:
        return {}
    with ThreadPoolExecutor(min(_SIDE_BY_SIDE, len(wanted)), "observe") as threads:
        found = list(threads.map(lambda name: observe_queue(aws, name), wanted))
    return {queue.name: queue for queue in found if queue is not None}


def observe_queue(aws: Aws, name: str) -> ObservedQueue | None:
    """One queue with its attributes and tags; None where there is none."""
    try:
        url = str(aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"])
        told = aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["All"]})
        tags = aws.call("sqs", "ListQueueTags", {"QueueUrl": url}).get("Tags", {})
    except ProvisionError as error:
        if error.code == _NO_QUEUE:
            return None
        raise
    return ObservedQueue(name, url, told.get("Attributes", {}), tags)


def counts(aws: Aws, url: str) -> QueueCounts:
    """How many messages a queue holds: one call. Approximate, and up to a minute old."""
    names = [f"ApproximateNumberOfMessages{state}" for state in ("", "NotVisible", "Delayed")]
    return counts_of(aws.call("sqs", "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": names})["Attributes"])


def observe_table(aws: Aws, name: str) -> ObservedTable | None:
    """The table with its tags, expiry and backups; None where there is none."""
    try:
        description = aws.call("dynamodb", "DescribeTable", {"TableName": name})["Table"]
    except ProvisionError as error:
        if error.code in _NO_TABLE:
            return None
        raise
    status = str(description["TableStatus"])
    tags = _offered(lambda: _table_tags(aws, str(description["TableArn"])))
    if status in ("CREATING", "DELETING"):
        return ObservedTable(name, status, description, tags, {}, None if tags is None else False)
    told = aws.call("dynamodb", "DescribeTimeToLive", {"TableName": name}).get("TimeToLiveDescription", {})
    return ObservedTable(name, status, description, tags, told, _offered(lambda: _recovery(aws, name)))


def _offered(read: Callable[[], _Told]) -> _Told | None:
    try:
        return read()
    except ProvisionError as error:
        if error.code == _NOT_OFFERED:
            return None
        raise


def _table_tags(aws: Aws, arn: str) -> Mapping[str, str]:
    tags: dict[str, str] = {}
    request = {"ResourceArn": arn}
    while True:
        answer = aws.call("dynamodb", "ListTagsOfResource", request)
        tags.update({tag["Key"]: tag["Value"] for tag in answer.get("Tags", ())})
        if not answer.get("NextToken"):
            return tags
        request = {"ResourceArn": arn, "NextToken": answer["NextToken"]}


def _recovery(aws: Aws, name: str) -> bool:
    told = aws.call("dynamodb", "DescribeContinuousBackups", {"TableName": name})["ContinuousBackupsDescription"]
    return bool(told.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED")


def _urls(remembered: ResolvedRoute | None) -> list[str]:
    if remembered is None:
        return []
    partitions = [url for each in remembered.generations for urls in each.queues.values() for url in urls]
    return [*partitions, *(each.url for each in (*remembered.rungs, *remembered.retired_rungs))]
