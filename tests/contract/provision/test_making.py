"""Queues and a table come into being, once, as they must be, and only where nobody else's lie."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chaski_aws.provision.apply import apply, fence, unfence
from chaski_aws.provision.desired import desired
from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_aws.provision.generations import generations_of
from chaski_aws.provision.observe import counts, observe_queue, observe_table, survey
from chaski_aws.provision.plan import plan, plan_drop
from chaski_aws.provision.settings import ProvisionSettings
from chaski_core.errors import RouteConflictError
from chaski_core.ports import QueueCounts
from chaski_core.route.model import Route
from chaski_core.route.resolved import queue_name, table_name
from chaski_core.route.resolved_document import load_resolved, resolved_yaml
from support.operator.provisioning import Counted, Killed, provision, route_of

SETTINGS = ProvisionSettings("chaski")
FIRST = queue_name(route_of(), "urgent", 1, 0)
STRICT = route_of(ordering="Strict")
MORE_PARTITIONS = route_of(queues=[{"name": "urgent", "subjects": ["u_*"]}, {"name": "messages", "partitions": 3}])


def all_queues(aws: Counted) -> dict[str, Any]:
    """Every queue of the account: its attributes without counts and times, and its tags."""
    listed = aws.aws.call("sqs", "ListQueues", {}).get("QueueUrls", [])
    found = [observe_queue(aws.aws, url.rpartition("/")[2]) for url in listed]
    return {
        queue.name: (
            {
                name: value
                for name, value in queue.attributes.items()
                if not name.startswith(("Approx", "Created", "Last"))
            },
            dict(queue.tags),
        )
        for queue in found
        if queue is not None
    }


def foreign_queue(aws: Counted, name: str, **tags: str) -> str:
    """A queue that somebody else made; its URL."""
    request = {"QueueName": name, "Attributes": {"FifoQueue": "true"}, "tags": tags}
    return str(aws.aws.call("sqs", "CreateQueue", request)["QueueUrl"])


def test_a_route_gets_its_queues_and_its_table(aws: Counted) -> None:
    """Every attribute that order, durability and throughput rest on, read back from the service."""
    made = provision(aws, route_of())

    queues = all_queues(aws)
    assert len(queues) == 5  # three partitions, two rungs
    for attributes, tags in queues.values():
        assert attributes["FifoQueue"] == "true"
        assert attributes["DeduplicationScope"] == "messageGroup"
        assert attributes["FifoThroughputLimit"] == "perMessageGroupId"
        assert attributes["ContentBasedDeduplication"] == "false"
        assert attributes["MessageRetentionPeriod"] == "1209600"
        assert attributes["MaximumMessageSize"] == "327680"
        assert attributes["VisibilityTimeout"] == "120"
        assert attributes["SqsManagedSseEnabled"] == "true"
        assert "Policy" not in attributes
        assert tags["chaski.dev/managed-by"] == "chaski"
        assert tags["chaski.dev/route"] == "helpdesk/conversations"
        assert tags["chaski.dev/owner"] == "chaski"
    delays = {
        tags["chaski.dev/rung"]: attributes["DelaySeconds"]
        for attributes, tags in queues.values()
        if "chaski.dev/rung" in tags
    }
    assert delays == {"fast": "5", "slow": "900"}

    table = observe_table(aws, table_name(route_of()))
    assert table is not None
    assert table.protected
    assert table.point_in_time_recovery is True
    assert table.time_to_live["AttributeName"] == "expiresAt"
    assert table.tags is not None
    assert table.tags["chaski.dev/route"] == "helpdesk/conversations"
    assert table.description["BillingModeSummary"]["BillingMode"] == "PAY_PER_REQUEST"
    assert len(table.description["GlobalSecondaryIndexes"]) == 3

    (read,) = load_resolved(resolved_yaml([made.resolved]))
    assert read == made.resolved
    assert {name: len(urls) for name, urls in read.current.queues.items()} == {"urgent": 1, "messages": 2}
    assert [each.rung.name for each in read.rungs] == ["fast", "slow"]
    assert read.dead_letter_table == table_name(route_of())


def test_strict_needs_no_rungs(aws: Counted) -> None:
    """There the head waits in its own queue."""
    made = provision(aws, STRICT)
    assert len(all_queues(aws)) == 3
    assert made.resolved.rungs == ()


@pytest.mark.parametrize("route", [route_of(), STRICT], ids=["Relaxed", "Strict"])
def test_a_second_run_writes_nothing(aws: Counted, route: Route) -> None:
    """Counted at the client: no call that could change something, and the very same resolved route."""
    first = provision(aws, route)
    aws.writes.clear()
    second = provision(aws, route)
    assert aws.writes == []
    assert second.applied.done == ()
    assert second.resolved == first.resolved


DRIFTS: dict[str, Callable[[Counted], object]] = {
    "attributes": lambda aws: aws.aws.call(
        "sqs",
        "SetQueueAttributes",
        {"QueueUrl": url_of(aws, FIRST), "Attributes": {"VisibilityTimeout": "30", "MessageRetentionPeriod": "60"}},
    ),
    "throughput": lambda aws: aws.aws.call(
        "sqs",
        "SetQueueAttributes",
        {
            "QueueUrl": url_of(aws, FIRST),
            "Attributes": {"FifoThroughputLimit": "perQueue", "DeduplicationScope": "queue"},
        },
    ),
    "rung's delay": lambda aws: aws.aws.call(
        "sqs",
        "SetQueueAttributes",
        {"QueueUrl": url_of(aws, rung_name(aws)), "Attributes": {"DelaySeconds": "0"}},
    ),
    "fence": lambda aws: fence(aws.aws, FIRST),
    "queue gone": lambda aws: aws.aws.call("sqs", "DeleteQueue", {"QueueUrl": url_of(aws, FIRST)}),
    "tag": lambda aws: aws.aws.call(
        "sqs", "UntagQueue", {"QueueUrl": url_of(aws, FIRST), "TagKeys": ["chaski.dev/map", "chaski.dev/generation"]}
    ),
    "protection": lambda aws: aws.aws.call(
        "dynamodb", "UpdateTable", {"TableName": table_name(route_of()), "DeletionProtectionEnabled": False}
    ),
    "backups": lambda aws: aws.aws.call(
        "dynamodb",
        "UpdateContinuousBackups",
        {
            "TableName": table_name(route_of()),
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False},
        },
    ),
    "index": lambda aws: aws.aws.call(
        "dynamodb",
        "UpdateTable",
        {"TableName": table_name(route_of()), "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-id"}}]},
    ),
}


def url_of(aws: Counted, name: str) -> str:
    """A queue's URL."""
    return str(aws.aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"])


def rung_name(aws: Counted) -> str:
    """Name of the queue of rung `slow`."""
    return next(name for name, (_, tags) in all_queues(aws).items() if tags.get("chaski.dev/rung") == "slow")


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_what_somebody_changed_is_put_right(aws: Counted, drift: Callable[[Counted], object]) -> None:
    """And the plan names each attribute with what it was and what it must be; the run after that writes nothing."""
    before = provision(aws, route_of())
    state = all_queues(aws)
    drift(aws)
    mended = provision(aws, route_of())
    assert mended.applied.done
    assert all_queues(aws) == state
    assert mended.resolved == before.resolved
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []


def test_drift_is_told_attribute_by_attribute(aws: Counted) -> None:
    """For an event, a log line, and a dry run."""
    provision(aws, route_of())
    DRIFTS["attributes"](aws)
    observed = survey(aws, route_of(), SETTINGS)
    (action,) = plan(desired(route_of(), observed.generations, SETTINGS), observed)
    assert action.operation == "SetQueueAttributes"
    assert {(each.attribute, each.was, each.wanted) for each in action.drift} == {
        ("VisibilityTimeout", "30", "120"),
        ("MessageRetentionPeriod", "60", "1209600"),
    }
    assert action.request["Attributes"] == {"VisibilityTimeout": "120", "MessageRetentionPeriod": "1209600"}


@pytest.mark.promise(7)
@pytest.mark.parametrize(
    "tags",
    [
        {},
        {"team": "payments"},
        {"chaski.dev/managed-by": "chaski", "chaski.dev/owner": "other", "chaski.dev/route": "helpdesk/conversations"},
        {"chaski.dev/managed-by": "chaski", "chaski.dev/owner": "chaski", "chaski.dev/route": "helpdesk/other"},
    ],
    ids=["untagged", "tags of others", "another installation", "another route"],
)
def test_a_queue_of_somebody_else_is_named_and_not_touched(aws: Counted, tags: dict[str, str]) -> None:
    """Nothing at all is written then, and a drop leaves it where it is."""
    foreign_queue(aws, FIRST, **tags)
    before = all_queues(aws)
    with pytest.raises(NotOursError, match=FIRST) as caught:
        provision(aws, route_of())
    assert not caught.value.retryable
    assert caught.value.fix
    assert aws.writes == []
    apply(aws, plan_drop(route_of(), SETTINGS, survey(aws, route_of(), SETTINGS)))
    assert all_queues(aws) == before


@pytest.mark.promise(7)
@pytest.mark.promise(14)
def test_another_installation_neither_shares_nor_fences_what_is_there(aws: Counted) -> None:
    """Two clusters in one account, the same route, and then another map in the second: the first goes on undisturbed."""
    first, second = ProvisionSettings("11111111-aaaa"), ProvisionSettings("22222222-bbbb")
    provision(aws, route_of(), first)
    before, written = all_queues(aws), len(aws.writes)
    for wanted in (route_of(), route_of(queues=[{"name": "messages", "partitions": 5}])):
        with pytest.raises(NotOursError) as caught:
            provision(aws, wanted, second)
        assert 'installation: set it to "11111111-aaaa" to keep using these' in caught.value.fix
        with pytest.raises(NotOursError):
            apply(aws, plan_drop(wanted, second, survey(aws, wanted, second)))
    assert all_queues(aws) == before
    assert len(aws.writes) == written
    assert provision(aws, route_of(), first).applied.done == ()


@pytest.mark.promise(7)
def test_a_table_of_somebody_else_is_named_and_not_touched(aws: Counted) -> None:
    """Neither by making nor by dropping."""
    name = table_name(route_of())
    request = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
    }
    aws.aws.call("dynamodb", "CreateTable", request)
    with pytest.raises(NotOursError, match=name):
        provision(aws, route_of())
    with pytest.raises(NotOursError, match=name):
        plan_drop(route_of(), SETTINGS, survey(aws, route_of(), SETTINGS))
    assert aws.writes == []


STEPS = 8  # of the first run of a route: five queues, the table, its expiry, its backups


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_run_that_is_killed_anywhere_is_finished_by_the_next(aws: Counted, step: int, after: bool) -> None:
    """The same queues and the same resolved route as without the kill, and nothing made twice."""
    aws.kill_at, aws.kill_after_the_call = step, after
    with pytest.raises(Killed):
        provision(aws, route_of())
    aws.kill_at = None
    made = provision(aws, route_of())
    assert len(all_queues(aws)) == 5
    assert made.resolved.current.number == 1
    assert len(aws.writes) == len(set(aws.writes)) == STEPS
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []


CHANGE_STEPS = 7  # four new queues, three fences


@pytest.mark.parametrize("step", [None, *range(CHANGE_STEPS)])
def test_another_map_makes_a_new_set_and_fences_the_old_one(aws: Counted, step: int | None) -> None:
    """However often the run is cut short: one new generation, the old queues closed to senders and still there."""
    provision(aws, route_of())
    aws.writes.clear()
    if step is not None:
        aws.kill_at, aws.kill_after_the_call = step, step % 2 == 1
        with pytest.raises(Killed):
            provision(aws, MORE_PARTITIONS)
        aws.kill_at = None
    made = provision(aws, MORE_PARTITIONS)
    assert len(aws.writes) == CHANGE_STEPS
    assert [each.number for each in made.resolved.generations] == [1, 2]
    assert {name: len(urls) for name, urls in made.resolved.current.queues.items()} == {"urgent": 1, "messages": 3}
    policies = {name: attributes.get("Policy") for name, (attributes, _) in all_queues(aws).items()}
    fences = {name for name, policy in policies.items() if policy}
    assert len(fences) == 3
    assert all("-g1-" in name for name in fences)
    aws.writes.clear()
    provision(aws, MORE_PARTITIONS)
    assert aws.writes == []


def test_generations_are_read_back_from_tags(aws: Counted) -> None:
    """A status that is lost takes nothing with it: maps back and forth are three generations, told apart."""
    provision(aws, route_of())
    provision(aws, MORE_PARTITIONS)
    last = provision(aws, route_of())
    assert [each.number for each in last.resolved.generations] == [1, 2, 3]
    observed = survey(aws, route_of(), SETTINGS)
    known = generations_of({queue.url: queue.tags for queue in observed.own_queues})
    assert [each.number for each in known] == [1, 2, 3]
    assert [sum(map(len, each.queues.values())) for each in known] == [3, 4, 3]
    assert known[0].map == known[2].map != known[1].map


def test_a_rung_that_is_taken_out_is_kept_and_fenced_and_comes_back_unfenced(aws: Counted) -> None:
    """It may hold messages; and a rung that returns takes them again."""
    only_fast = route_of(
        retry={
            "rungs": [{"name": "fast", "delaySeconds": 5}],
            "ladders": [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}],
        }
    )
    provision(aws, route_of())
    without = provision(aws, only_fast)
    assert [each.rung.name for each in without.resolved.retired_rungs] == ["slow"]
    slow = observe_queue(aws, rung_name(aws))
    assert slow is not None
    assert slow.fenced
    back = provision(aws, route_of())
    assert back.resolved.retired_rungs == ()
    slow = observe_queue(aws, rung_name(aws))
    assert slow is not None
    assert not slow.fenced


def test_a_fence_leaves_other_statements_of_a_policy_alone(aws: Counted) -> None:
    """Somebody may have given other accounts access."""
    provision(aws, route_of())
    allow = {
        "Sid": "partner",
        "Effect": "Allow",
        "Principal": {"AWS": "arn:aws:iam::210987654321:root"},
        "Action": "sqs:SendMessage",
        "Resource": f"arn:aws:sqs:us-east-1:123456789012:{FIRST}",
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": allow})
    aws.aws.call("sqs", "SetQueueAttributes", {"QueueUrl": url_of(aws, FIRST), "Attributes": {"Policy": policy}})
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []
    fence(aws, FIRST)
    fence(aws, FIRST)
    unfence(aws, FIRST)
    unfence(aws, FIRST)
    assert [operation for operation, _ in aws.writes] == ["SetQueueAttributes", "SetQueueAttributes"]
    left = observe_queue(aws, FIRST)
    assert left is not None
    assert json.loads(left.attributes["Policy"])["Statement"] == [allow]


def test_a_drop_takes_what_is_ours_and_can_be_repeated(aws: Counted) -> None:
    """Protection is taken away first; queues of others and of other routes stay."""
    foreign = foreign_queue(aws, "chaski-helpdesk-conversations-extra.fifo", team="payments")
    provision(aws, route_of())
    provision(aws, route_of(name="conversations-too"))
    kept = {
        name for name, (_, tags) in all_queues(aws).items() if tags.get("chaski.dev/route") != "helpdesk/conversations"
    }
    apply(aws, plan_drop(route_of(), SETTINGS, survey(aws, route_of(), SETTINGS)))
    assert set(all_queues(aws)) == kept
    assert foreign.rpartition("/")[2] in kept
    assert observe_table(aws, table_name(route_of())) is None
    assert observe_table(aws, table_name(route_of(name="conversations-too"))) is not None
    assert plan_drop(route_of(), SETTINGS, survey(aws, route_of(), SETTINGS)) == ()


def test_another_ordering_is_refused(aws: Counted) -> None:
    """It is immutable: messages that climb rungs and messages that wait in place can't be turned into each other."""
    provision(aws, route_of())
    aws.writes.clear()
    with pytest.raises(RouteConflictError, match="set it back to Relaxed"):
        provision(aws, STRICT)
    assert aws.writes == []


def test_counts_are_one_call(aws: Counted) -> None:
    """What the scaler and the finalizer ask most."""
    made = provision(aws, route_of())
    aws.reads.clear()
    url = made.resolved.current.queues["urgent"][0]
    assert counts(aws, url) == QueueCounts(0, 0, 0)
    assert aws.reads == ["GetQueueAttributes"]


def test_a_table_with_another_key_is_refused_for_good(aws: Counted) -> None:
    """Keys can't be changed, and nothing is deleted for it."""
    name = table_name(route_of())
    request = {
        "TableName": name,
        "BillingMode": "PAY_PER_REQUEST",
        "AttributeDefinitions": [{"AttributeName": "a", "AttributeType": "S"}],
        "KeySchema": [{"AttributeName": "a", "KeyType": "HASH"}],
        "Tags": [
            {"Key": "chaski.dev/managed-by", "Value": "chaski"},
            {"Key": "chaski.dev/owner", "Value": "chaski"},
            {"Key": "chaski.dev/route", "Value": "helpdesk/conversations"},
        ],
    }
    aws.aws.call("dynamodb", "CreateTable", request)
    with pytest.raises(ProvisionError, match="keys can't be changed") as caught:
        provision(aws, route_of())
    assert not caught.value.retryable
    assert aws.writes == []
