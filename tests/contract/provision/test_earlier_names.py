"""Queues and tables whose names an earlier release gave them keep these names; new generations get names of this one."""

import pytest

from chaski_aws import names
from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import NotOursError
from chaski_aws.provision.observe import observe, observe_owners, observe_queue, observe_table
from chaski_aws.provision.plan import plan_drained, plan_drop
from chaski_core.route import resolved as earlier
from support.operator.provisioning import Counted, provision, provision_as_earlier, route_of

SETTINGS = ProvisionSettings("chaski")
ROUTE = route_of()
CHANGED = route_of(queues=[{"name": "messages", "partitions": 1}])
PREFIX = names.namespace_prefix("chaski", "helpdesk")


def queue_names(aws: Counted) -> set[str]:
    """All queues of the account."""
    return {url.rpartition("/")[2] for url in aws.aws.call("sqs", "ListQueues", {}).get("QueueUrls", ())}


def test_a_route_of_an_earlier_release_keeps_its_names(aws: Counted) -> None:
    """Nothing is written, nothing is created twice, and messages and dead letters stay where they are."""
    provision_as_earlier(aws.aws, ROUTE)
    before = queue_names(aws)
    made = provision(aws, ROUTE)
    assert aws.writes == []
    assert {url.rpartition("/")[2] for urls in made.resolved.queue_urls.values() for url in urls} == {
        earlier.queue_name(ROUTE, "urgent", 1, 0),
        earlier.queue_name(ROUTE, "messages", 1, 0),
        earlier.queue_name(ROUTE, "messages", 1, 1),
    }
    assert [each.url.rpartition("/")[2] for each in made.resolved.rungs] == [
        earlier.rung_queue_name(ROUTE, "fast"),
        earlier.rung_queue_name(ROUTE, "slow"),
    ]
    assert made.resolved.retired_rungs == ()
    assert made.resolved.dead_letter_table == earlier.table_name(ROUTE)
    assert queue_names(aws) == before
    assert observe_owners(aws, ROUTE, "chaski") == {"chaski"}


@pytest.mark.promise(14)
def test_a_new_generation_gets_isolated_names_and_the_earlier_one_drains(aws: Counted) -> None:
    """Rungs and table stay: two queues of one rung would break its order, and dead letters can't move."""
    provision_as_earlier(aws.aws, ROUTE)
    made = provision(aws, CHANGED).resolved
    assert [each.number for each in made.generations] == [1, 2]
    (url,) = made.current.queues["messages"]
    assert url.rpartition("/")[2] == names.queue_name(CHANGED, "chaski", "messages", 2, 0)
    assert [each.url.rpartition("/")[2] for each in made.rungs] == [
        earlier.rung_queue_name(ROUTE, "fast"),
        earlier.rung_queue_name(ROUTE, "slow"),
    ]
    assert made.dead_letter_table == earlier.table_name(ROUTE)
    aws.writes.clear()
    assert provision(aws, CHANGED).resolved == made
    assert aws.writes == []

    observed = observe(aws, CHANGED, SETTINGS)
    wanted = desired(CHANGED, observed, SETTINGS)
    old = {queue.name for queue in observed.own_queues if queue.name not in wanted.names}
    assert len(old) == 3
    apply(aws, plan_drained(wanted, observed, old))
    assert [each.number for each in provision(aws, CHANGED).resolved.generations] == [2]
    apply(aws, plan_drop(CHANGED, SETTINGS, observe(aws, CHANGED, SETTINGS)))
    assert queue_names(aws) == set()
    assert observe_table(aws, earlier.table_name(ROUTE)) is None


def test_a_new_rung_gets_an_isolated_name(aws: Counted) -> None:
    """Only what exists keeps its name."""
    provision_as_earlier(aws.aws, ROUTE)
    rungs = [{"name": name, "delaySeconds": delay} for name, delay in (("fast", 5), ("mid", 60), ("slow", 900))]
    ladders = [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast", "mid", "slow"]}]
    made = provision(aws, route_of(retry={"rungs": rungs, "ladders": ladders})).resolved
    assert [each.url.rpartition("/")[2].startswith(PREFIX) for each in made.rungs] == [False, True, False]
    assert [each.number for each in made.generations] == [1]


@pytest.mark.promise(7)
def test_the_installation_that_named_them_is_named_in_the_refusal(aws: Counted) -> None:
    """After an upgrade with another name of the installation: nothing is created beside the queues that hold messages."""
    provision_as_earlier(aws.aws, ROUTE, "chaski")
    before = queue_names(aws)
    with pytest.raises(NotOursError) as caught:
        provision(aws, ROUTE, ProvisionSettings("11111111-aaaa"))
    assert 'installation: set it to "chaski" to keep using these' in caught.value.fix
    assert aws.writes == []
    assert queue_names(aws) == before
    assert observe_owners(aws, ROUTE, "11111111-aaaa") == {"chaski"}


@pytest.mark.promise(7)
def test_an_earlier_queue_that_lost_its_tags_is_not_left_behind(aws: Counted) -> None:
    """It may hold messages, so the route is refused until a person has set the tags."""
    provision_as_earlier(aws.aws, CHANGED)
    queue = observe_queue(aws, earlier.queue_name(CHANGED, "messages", 1, 0))
    assert queue is not None
    aws.aws.call("sqs", "UntagQueue", {"QueueUrl": queue.url, "TagKeys": list(queue.tags)})
    with pytest.raises(NotOursError, match=queue.name):
        provision(aws, CHANGED)
    assert aws.writes == []


@pytest.mark.promise(14)
def test_the_earlier_name_in_the_hands_of_another_route_blocks_nothing(aws: Counted) -> None:
    """32 bits of hash can be found by trying; a new route does not use such names."""
    provision_as_earlier(aws.aws, ROUTE)
    for name in queue_names(aws):
        url = aws.aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"]
        aws.aws.call("sqs", "TagQueue", {"QueueUrl": url, "Tags": {"chaski.dev/route": "evil/route"}})
    table = observe_table(aws, earlier.table_name(ROUTE))
    assert table is not None
    tags = [{"Key": "chaski.dev/route", "Value": "evil/route"}]
    aws.aws.call("dynamodb", "TagResource", {"ResourceArn": table.arn, "Tags": tags})
    made = provision(aws, ROUTE).resolved
    urls = [url for urls in made.queue_urls.values() for url in urls]
    assert all(url.rpartition("/")[2].startswith(PREFIX) for url in urls)
    assert made.dead_letter_table == names.table_name(ROUTE, "chaski")


@pytest.mark.promise(2)
def test_queues_that_were_handed_over_are_found_by_the_names_of_the_other_installation(aws: Counted) -> None:
    """Their tags name the new owner; what the last resolved route names leads to the rest of them."""
    before = provision(aws, ROUTE, ProvisionSettings("old")).resolved
    for name in queue_names(aws):
        url = aws.aws.call("sqs", "GetQueueUrl", {"QueueName": name})["QueueUrl"]
        aws.aws.call("sqs", "TagQueue", {"QueueUrl": url, "Tags": {"chaski.dev/owner": "new"}})
    table = observe_table(aws, names.table_name(ROUTE, "old"))
    assert table is not None
    tags = [{"Key": "chaski.dev/owner", "Value": "new"}]
    aws.aws.call("dynamodb", "TagResource", {"ResourceArn": table.arn, "Tags": tags})
    made = provision(aws, ROUTE, ProvisionSettings("new"), before).resolved
    assert made.current == before.current
    assert made.rungs == before.rungs
    assert made.dead_letter_table == before.dead_letter_table
