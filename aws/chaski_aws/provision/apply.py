"""Applies planned changes, one call after another. A run that is killed between two calls is completed by the next run."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chaski_aws.provision.actions import Action
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import NotOursError, ProvisionError, ProvisionFailure, failure_of
from chaski_aws.provision.state import MANAGED_BY_TAG, OWNER_TAG, ROUTE_TAG, describe_owner

_PAUSE_SECONDS = 2.0
_OWNERSHIP = (MANAGED_BY_TAG, OWNER_TAG, ROUTE_TAG)
_TEMPORARY = ("QueueDeletedRecently", "TableNotActive", "LimitExceededException")
_NEEDS_NO_ACTIVE_TABLE = ("CreateTable", "TagResource")
_UNSUPPORTED = "UnknownOperationException"
_EMULATORS_LACK = ("UpdateContinuousBackups", "TagResource")
_ALREADY_DELETED = {
    "DeleteQueue": "QueueDoesNotExist",
    "DeleteTable": "ResourceNotFoundException",
}


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was applied."""

    action: Action
    response: Mapping[str, Any]
    supported: bool = True  # False: this service (an emulator) does not implement the operation


@dataclass(frozen=True, slots=True)
class Applied:
    """The actions that were applied, in order."""

    done: tuple[Done, ...] = ()

    @property
    def urls(self) -> Mapping[str, str]:
        """URLs of the queues that were created, by name."""
        created = (each for each in self.done if each.action.operation == "CreateQueue")
        return {each.action.resource: str(each.response["QueueUrl"]) for each in created}


def _ignore(_done: Done) -> None:
    pass


@dataclass(frozen=True, slots=True)
class RetryOptions:
    """How long to retry temporary errors, in total: a name that is reserved for 60 s, a table that is being created."""

    seconds: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    on_done: Callable[[Done], None] = field(default=_ignore)


def apply(aws: Aws, actions: Iterable[Action], options: RetryOptions | None = None) -> Applied:
    """Applies every action, in order.

    Args:
        aws: makes the calls.
        actions: as planned.
        options: how long to retry temporary errors; not at all by default.

    Raises:
        NotOursError: another owner created a queue of that name meanwhile.
        ProvisionError: an action failed. The earlier ones stay applied.
    """
    options = options or RetryOptions()
    deadline = options.monotonic() + options.seconds
    done = []
    for action in actions:
        done.append(_retry(partial(_apply_one, aws, action), options, deadline))
        options.on_done(done[-1])
    return Applied(tuple(done))


def _retry(attempt: Callable[[], Done], options: RetryOptions, deadline: float) -> Done:
    while True:
        try:
            return attempt()
        except ProvisionError as error:
            if error.code not in _TEMPORARY or options.monotonic() >= deadline:
                raise
        options.sleep(_PAUSE_SECONDS)


def _apply_one(aws: Aws, action: Action) -> Done:
    if action.service == "dynamodb" and action.operation not in _NEEDS_NO_ACTIVE_TABLE:
        _check_active(aws, action)
    try:
        response = aws.call(action.service, action.operation, action.request)
    except ProvisionError as error:
        if _ALREADY_DELETED.get(action.operation) == error.code:
            return Done(action, {})
        if action.operation in _EMULATORS_LACK and error.code == _UNSUPPORTED:
            return Done(action, {}, supported=False)
        if action.operation == "UpdateTimeToLive" and "already enabled" in error.failure.reason:
            return Done(action, {})
        raise
    if action.operation == "CreateQueue":
        _check_ours(aws, action, str(response["QueueUrl"]))
    return Done(action, response)


def _check_active(aws: Aws, action: Action) -> None:
    try:
        status = str(aws.call("dynamodb", "DescribeTable", {"TableName": action.resource})["Table"]["TableStatus"])
    except ProvisionError as error:
        if _ALREADY_DELETED.get(action.operation) == error.code:
            return
        raise
    if status != "ACTIVE":
        raise ProvisionError(
            failure_of("dynamodb", action.operation, action.resource, "TableNotActive", f"the table is {status}")
        )


def _check_ours(aws: Aws, action: Action, url: str) -> None:
    # CreateQueue returns the URL of an existing queue with the same attributes, also of another owner.
    try:
        tags = aws.call("sqs", "ListQueueTags", {"QueueUrl": url}).get("Tags", {})
    except ProvisionError as error:
        if error.code == "QueueDoesNotExist":  # a new queue may not be visible everywhere for a second
            return
        raise
    if any(tags.get(name) != action.request["tags"][name] for name in _OWNERSHIP):
        fix = "rename the route, or set the queue's tags by hand (docs/provisioning.md)"
        failure = ProvisionFailure("sqs", "CreateQueue", action.resource, "NotOurs", describe_owner(tags), None, fix)
        raise NotOursError(failure)
