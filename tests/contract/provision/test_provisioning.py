"""Creates queues and a table once, in the desired state, and never changes those of other owners."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from chaski_aws.names import queue_name, table_name
from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_aws.provision.observe import counts, observe, observe_queue, observe_table
from chaski_aws.provision.plan import block_sends, plan, plan_drop, unblock_sends
from chaski_aws.provision.state import ObservedQueue, generations_of
from chaski_core.errors import RouteConflictError
from chaski_core.ports import QueueCounts
from chaski_core.route.loading import load_route
from chaski_core.route.model import Route
from chaski_core.route.resolved_document import load_resolved, resolved_yaml
from support.operator.provisioning import Counted, Killed, provision, route_of

SETTINGS = ProvisionSettings("chaski")
FIRST = queue_name(route_of(), "chaski", "urgent", 1, 0)
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
    """Creates a queue of another owner; its URL."""
    request = {"QueueName": name, "Attributes": {"FifoQueue": "true"}, "tags": tags}
    return str(aws.aws.call("sqs", "CreateQueue", request)["QueueUrl"])


def test_a_route_gets_its_queues_and_its_table(aws: Counted) -> None:
    """Every attribute that order, durability and throughput depend on, read back from the service."""
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

    table = observe_table(aws, table_name(route_of(), "chaski"))
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
    assert read.dead_letter_table == table_name(route_of(), "chaski")


def test_strict_needs_no_rungs(aws: Counted) -> None:
    """In Strict the head waits in its own queue."""
    made = provision(aws, STRICT)
    assert len(all_queues(aws)) == 3
    assert made.resolved.rungs == ()


@pytest.mark.parametrize("route", [route_of(), STRICT], ids=["Relaxed", "Strict"])
def test_a_second_run_writes_nothing(aws: Counted, route: Route) -> None:
    """Counted at the client: no call that changes something, and the same resolved route."""
    first = provision(aws, route)
    aws.writes.clear()
    second = provision(aws, route)
    assert aws.writes == []
    assert second.applied.done == ()
    assert second.resolved == first.resolved


def first_queue(aws: Counted) -> ObservedQueue:
    """The queue `FIRST`."""
    queue = observe_queue(aws, FIRST)
    assert queue is not None
    return queue


def block_first(aws: Counted) -> None:
    """Blocks sends to the queue `FIRST`."""
    apply(aws.aws, [block_sends(first_queue(aws))])


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
    "send block": block_first,
    "queue deleted": lambda aws: aws.aws.call("sqs", "DeleteQueue", {"QueueUrl": url_of(aws, FIRST)}),
    "tag": lambda aws: aws.aws.call(
        "sqs", "UntagQueue", {"QueueUrl": url_of(aws, FIRST), "TagKeys": ["chaski.dev/map", "chaski.dev/generation"]}
    ),
    "protection": lambda aws: aws.aws.call(
        "dynamodb", "UpdateTable", {"TableName": table_name(route_of(), "chaski"), "DeletionProtectionEnabled": False}
    ),
    "backups": lambda aws: aws.aws.call(
        "dynamodb",
        "UpdateContinuousBackups",
        {
            "TableName": table_name(route_of(), "chaski"),
            "PointInTimeRecoverySpecification": {"PointInTimeRecoveryEnabled": False},
        },
    ),
    "index": lambda aws: aws.aws.call(
        "dynamodb",
        "UpdateTable",
        {
            "TableName": table_name(route_of(), "chaski"),
            "GlobalSecondaryIndexUpdates": [{"Delete": {"IndexName": "by-id"}}],
        },
    ),
}


def url_of(aws: Counted, name: str) -> str:
    """A queue's URL."""
    return str(aws.aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"])


def rung_name(aws: Counted) -> str:
    """Name of the queue of rung `slow`."""
    return next(name for name, (_, tags) in all_queues(aws).items() if tags.get("chaski.dev/rung") == "slow")


@pytest.mark.parametrize("drift", DRIFTS.values(), ids=DRIFTS.keys())
def test_drift_is_corrected(aws: Counted, drift: Callable[[Counted], object]) -> None:
    """By the next run; the run after that writes nothing."""
    before = provision(aws, route_of())
    state = all_queues(aws)
    drift(aws)
    corrected = provision(aws, route_of())
    assert corrected.applied.done
    assert all_queues(aws) == state
    assert corrected.resolved == before.resolved
    aws.writes.clear()
    provision(aws, route_of())
    assert aws.writes == []


def test_drift_lists_each_attribute(aws: Counted) -> None:
    """For an event, a log line, and a dry run."""
    provision(aws, route_of())
    DRIFTS["attributes"](aws)
    observed = observe(aws, route_of(), SETTINGS)
    (action,) = plan(desired(route_of(), observed, SETTINGS), observed)
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
def test_a_queue_of_another_owner_is_reported_and_not_changed(aws: Counted, tags: dict[str, str]) -> None:
    """Nothing is written, and a drop leaves it."""
    foreign_queue(aws, FIRST, **tags)
    before = all_queues(aws)
    with pytest.raises(NotOursError, match=FIRST) as caught:
        provision(aws, route_of())
    assert not caught.value.retryable
    assert caught.value.fix
    assert aws.writes == []
    apply(aws, plan_drop(route_of(), SETTINGS, observe(aws, route_of(), SETTINGS)))
    assert all_queues(aws) == before


def labelled(labels: dict[str, str]) -> Route:
    """A route with labels."""
    document = dict(route_of().document)
    return load_route({**document, "metadata": {**document["metadata"], "labels": labels}})


def all_tags(aws: Counted) -> list[dict[str, str]]:
    """Those of every queue and of the table."""
    arn = aws.aws.call("dynamodb", "DescribeTable", {"TableName": table_name(route_of(), "chaski")})["Table"][
        "TableArn"
    ]
    of_table = aws.aws.call("dynamodb", "ListTagsOfResource", {"ResourceArn": arn})["Tags"]
    return [*(tags for _, tags in all_queues(aws).values()), {each["Key"]: each["Value"] for each in of_table}]


def test_labels_of_a_route_that_the_installation_names_are_tags(aws: Counted) -> None:
    """Of queues and table; a later label too. Others are none, and none replaces a tag of Chaski's own."""
    settings = ProvisionSettings("chaski", {"team": "platform"}, ("team", "cost-center"))
    labels = {"team": "checkout", "tier": "gold"}
    provision(aws, labelled(labels), settings)
    provision(aws, labelled({**labels, "cost-center": "4711"}), settings)
    for tags in all_tags(aws):
        assert {name: tags.get(name) for name in ("team", "cost-center", "tier")} == {
            "team": "checkout",
            "cost-center": "4711",
            "tier": None,
        }
        assert tags["chaski.dev/owner"] == "chaski"
    assert provision(aws, labelled({**labels, "cost-center": "4711"}), settings).applied.done == ()


@pytest.mark.promise(7)
@pytest.mark.promise(14)
def test_another_installation_neither_uses_nor_blocks_existing_queues(aws: Counted) -> None:
    """Two clusters in one account, the same route, then another map in the second: the first is not affected."""
    first, second = ProvisionSettings("11111111-aaaa"), ProvisionSettings("22222222-bbbb")
    made = provision(aws, route_of(), first).resolved
    before, written = all_queues(aws), len(aws.writes)
    for wanted in (route_of(), route_of(queues=[{"name": "messages", "partitions": 5}])):
        provision(aws, wanted, second)
        apply(aws, plan_drop(wanted, second, observe(aws, wanted, second)))
    assert all_queues(aws) == before
    assert provision(aws, route_of(), first).applied.done == ()

    # Where the second one knows them, from the last resolved route, it refuses to leave them behind.
    written = len(aws.writes)
    for wanted in (route_of(), route_of(queues=[{"name": "messages", "partitions": 5}])):
        with pytest.raises(NotOursError) as caught:
            provision(aws, wanted, second, made)
        assert 'installation: set it to "11111111-aaaa" to keep using these' in caught.value.fix
        with pytest.raises(NotOursError):
            apply(aws, plan_drop(wanted, second, observe(aws, wanted, second, made)))
    assert all_queues(aws) == before
    assert len(aws.writes) == written
    assert provision(aws, route_of(), first).applied.done == ()


@pytest.mark.promise(7)
def test_a_table_of_another_owner_is_reported_and_not_changed(aws: Counted) -> None:
    """Neither by provisioning nor by dropping."""
    name = table_name(route_of(), "chaski")
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
        plan_drop(route_of(), SETTINGS, observe(aws, route_of(), SETTINGS))
    assert aws.writes == []


STEPS = 8  # of the first run of a route: five queues, the table, its expiry, its backups


@pytest.mark.parametrize("after", [False, True], ids=["before the call", "after the call"])
@pytest.mark.parametrize("step", range(STEPS))
def test_a_killed_run_is_completed_by_the_next(aws: Counted, step: int, after: bool) -> None:
    """The same queues and resolved route as without the kill, and nothing created twice."""
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


CHANGE_STEPS = 7  # four new queues, three send blocks


@pytest.mark.parametrize("step", [None, *range(CHANGE_STEPS)])
def test_another_map_creates_a_generation_and_blocks_sends_to_the_old_one(aws: Counted, step: int | None) -> None:
    """Even after an interrupted run: one new generation, and the old queues exist and refuse sends."""
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
    blocked = {name for name, policy in policies.items() if policy}
    assert len(blocked) == 3
    assert all("-g1-" in name for name in blocked)
    aws.writes.clear()
    provision(aws, MORE_PARTITIONS)
    assert aws.writes == []


def test_generations_are_read_back_from_tags(aws: Counted) -> None:
    """A lost status loses nothing: maps changed back and forth are three generations."""
    provision(aws, route_of())
    provision(aws, MORE_PARTITIONS)
    last = provision(aws, route_of())
    assert [each.number for each in last.resolved.generations] == [1, 2, 3]
    observed = observe(aws, route_of(), SETTINGS)
    known = generations_of({queue.url: queue.tags for queue in observed.own_queues})
    assert [each.number for each in known] == [1, 2, 3]
    assert [sum(map(len, each.queues.values())) for each in known] == [3, 4, 3]
    assert known[0].map == known[2].map != known[1].map


def test_a_removed_rung_is_kept_with_a_send_block_until_it_returns(aws: Counted) -> None:
    """It may hold messages; when the rung returns, the queue accepts messages again."""
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
    assert slow.is_blocked
    back = provision(aws, route_of())
    assert back.resolved.retired_rungs == ()
    slow = observe_queue(aws, rung_name(aws))
    assert slow is not None
    assert not slow.is_blocked


def test_a_send_block_keeps_other_statements_of_a_policy(aws: Counted) -> None:
    """Another account may have been granted access."""
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
    apply(aws, [block_sends(first_queue(aws))])
    assert first_queue(aws).is_blocked
    apply(aws, [unblock_sends(first_queue(aws))])
    left = first_queue(aws)
    assert not left.is_blocked
    assert json.loads(left.attributes["Policy"])["Statement"] == [allow]


def test_a_drop_deletes_only_our_resources_and_can_be_repeated(aws: Counted) -> None:
    """Deletion protection is disabled first; queues of other owners and routes stay."""
    foreign = foreign_queue(aws, "chaski-helpdesk-conversations-extra.fifo", team="payments")
    provision(aws, route_of())
    provision(aws, route_of(name="conversations-too"))
    kept = {
        name for name, (_, tags) in all_queues(aws).items() if tags.get("chaski.dev/route") != "helpdesk/conversations"
    }
    apply(aws, plan_drop(route_of(), SETTINGS, observe(aws, route_of(), SETTINGS)))
    assert set(all_queues(aws)) == kept
    assert foreign.rpartition("/")[2] in kept
    assert observe_table(aws, table_name(route_of(), "chaski")) is None
    assert observe_table(aws, table_name(route_of(name="conversations-too"), "chaski")) is not None
    assert plan_drop(route_of(), SETTINGS, observe(aws, route_of(), SETTINGS)) == ()


def test_another_ordering_is_refused(aws: Counted) -> None:
    """It is immutable: messages that climb rungs and messages that wait in place can't be turned into each other."""
    provision(aws, route_of())
    aws.writes.clear()
    with pytest.raises(RouteConflictError, match="set it back to Relaxed"):
        provision(aws, STRICT)
    assert aws.writes == []


def test_counts_are_one_call(aws: Counted) -> None:
    """The most frequent call of the autoscaler and the finalizer."""
    made = provision(aws, route_of())
    aws.reads.clear()
    url = made.resolved.current.queues["urgent"][0]
    assert counts(aws, url) == QueueCounts(0, 0, 0)
    assert aws.reads == ["GetQueueAttributes"]


def test_a_table_with_another_key_is_refused(aws: Counted) -> None:
    """Keys can't be changed, and the table is not deleted."""
    name = table_name(route_of(), "chaski")
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
