"""Does what was planned, one call after the other. Being killed between any two leaves what the next run goes on from."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from chaski_aws.provision.actions import Action
from chaski_aws.provision.clients import Aws
from chaski_aws.provision.errors import NotOursError, Problem, ProvisionError, problem_of
from chaski_aws.provision.observe import observe_queue
from chaski_aws.provision.plan import fence_action, unfence_action
from chaski_aws.provision.settings import MANAGED_BY_TAG, OWNER_TAG, ROUTE_TAG, told_owner

_PAUSE_SECONDS = 2.0
_OWNERSHIP = (MANAGED_BY_TAG, OWNER_TAG, ROUTE_TAG)
_WAITED_FOR = ("QueueDeletedRecently", "TableNotActive", "LimitExceededException")  # what ends by itself
_NEEDS_NO_ACTIVE_TABLE = ("CreateTable", "TagResource")
_NOT_OFFERED = "UnknownOperationException"
_STAND_INS_LACK = ("UpdateContinuousBackups", "TagResource")
_ALREADY = {
    "DeleteQueue": "QueueDoesNotExist",
    "DeleteTable": "ResourceNotFoundException",
}


@dataclass(frozen=True, slots=True)
class Done:
    """An action that was done."""

    action: Action
    answer: Mapping[str, Any]
    offered: bool = True  # False: this service (a stand-in) has no such operation


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done, in order."""

    done: tuple[Done, ...] = ()

    @property
    def urls(self) -> Mapping[str, str]:
        """URLs of the queues that were made, by name."""
        made = (each for each in self.done if each.action.operation == "CreateQueue")
        return {each.action.resource: str(each.answer["QueueUrl"]) for each in made}


def _ignore(_done: Done) -> None:
    """Tells nobody."""


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait, in all, for what ends by itself: a name that is taken for 60 s, a table that is being made."""

    seconds: float = 0.0
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    on_done: Callable[[Done], None] = field(default=_ignore)


def apply(aws: Aws, actions: Iterable[Action], patience: Patience | None = None) -> Applied:
    """Does every action, in order.

    Args:
        aws: makes the calls.
        actions: as planned.
        patience: how long to wait for what ends by itself; not at all unless given.

    Raises:
        NotOursError: somebody else made a queue of that name meanwhile.
        ProvisionError: an action failed. Those before it stay done.
    """
    patience = patience or Patience()
    deadline = patience.monotonic() + patience.seconds
    done = []
    for action in actions:
        done.append(_until(partial(_do, aws, action), patience, deadline))
        patience.on_done(done[-1])
    return Applied(tuple(done))


def fence(aws: Aws, name: str) -> None:
    """Denies SendMessage on a queue to everybody; nothing is done where that is so already."""
    queue = observe_queue(aws, name)
    if queue is not None and not queue.fenced:
        apply(aws, [fence_action(queue)])


def unfence(aws: Aws, name: str) -> None:
    """Takes the fence away, where there is one."""
    queue = observe_queue(aws, name)
    if queue is not None and queue.fenced:
        apply(aws, [unfence_action(queue)])


def _until(attempt: Callable[[], Done], patience: Patience, deadline: float) -> Done:
    while True:
        try:
            return attempt()
        except ProvisionError as error:
            if error.code not in _WAITED_FOR or patience.monotonic() >= deadline:
                raise
        patience.sleep(_PAUSE_SECONDS)


def _do(aws: Aws, action: Action) -> Done:
    if action.service == "dynamodb" and action.operation not in _NEEDS_NO_ACTIVE_TABLE:
        _check_active(aws, action)
    try:
        answer = aws.call(action.service, action.operation, action.request)
    except ProvisionError as error:
        if _ALREADY.get(action.operation) == error.code:
            return Done(action, {})
        if action.operation in _STAND_INS_LACK and error.code == _NOT_OFFERED:
            return Done(action, {}, offered=False)
        if action.operation == "UpdateTimeToLive" and "already enabled" in error.problem.reason:
            return Done(action, {})
        raise
    if action.operation == "CreateQueue":
        _check_ours(aws, action, str(answer["QueueUrl"]))
    return Done(action, answer)


def _check_active(aws: Aws, action: Action) -> None:
    try:
        status = str(aws.call("dynamodb", "DescribeTable", {"TableName": action.resource})["Table"]["TableStatus"])
    except ProvisionError as error:
        if _ALREADY.get(action.operation) == error.code:
            return
        raise
    if status != "ACTIVE":
        raise ProvisionError(
            problem_of("dynamodb", action.operation, action.resource, "TableNotActive", f"the table is {status}")
        )


def _check_ours(aws: Aws, action: Action, url: str) -> None:
    # CreateQueue answers with the URL of a queue that is there already and has the same attributes, whoever's it is.
    try:
        tags = aws.call("sqs", "ListQueueTags", {"QueueUrl": url}).get("Tags", {})
    except ProvisionError as error:
        if error.code == "QueueDoesNotExist":  # a new queue may not be seen everywhere for a second
            return
        raise
    if any(tags.get(name) != action.request["tags"][name] for name in _OWNERSHIP):
        fix = "rename the route, or give the queue its tags by hand (docs/provisioning.md)"
        problem = Problem("sqs", "CreateQueue", action.resource, "NotOurs", told_owner(tags), None, fix)
        raise NotOursError(problem)
