"""The same on stand-ins that are processes: SQS of two makers, DynamoDB Local.

ElasticMQ tells no policy, throughput limit, size or retention; so there a fence is set again at every run. DynamoDB Local
has no tags and no point-in-time recovery: that is told by the service and accepted. None of them enforces a policy.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import desired
from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_aws.provision.observe import observe_queue, observe_table, survey
from chaski_aws.provision.plan import plan, plan_drop
from chaski_aws.provision.settings import ProvisionSettings
from chaski_core.route.resolved import queue_name, table_name
from support.aws.embedded_sqs import ServerProcess
from support.operator.provisioning import Counted, boto, provision, route_of

SETTINGS = ProvisionSettings("chaski")


@pytest.fixture(params=["embedded-sqs-server", "elasticmq"])
def aws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counted]:
    """Queues of either maker, and DynamoDB Local, which the tests of a session share."""
    tables = request.getfixturevalue("dynamodb_local")
    if request.param == "elasticmq":
        yield Counted(boto(request.getfixturevalue("elasticmq"), tables))
        return
    server = ServerProcess(tmp_path / "queues")
    yield Counted(boto(server.url, tables))
    server.kill()


def test_a_route_is_made_once_changed_and_dropped(aws: Counted) -> None:
    """Made, found complete by a second run, given another map, dropped."""
    name = f"r{uuid.uuid4().hex[:8]}"
    route = route_of(name=name)
    first = provision(aws, route)
    left_out = {done.action.operation for done in first.applied.done if not done.offered}
    assert left_out == {"UpdateContinuousBackups"}
    aws.writes.clear()
    assert provision(aws, route).resolved == first.resolved
    assert aws.writes == []
    slow = observe_queue(aws, first.resolved.rungs[1].url.rpartition("/")[2])
    assert slow is not None
    assert slow.attributes["DelaySeconds"] == "900"
    table = observe_table(aws, table_name(route))
    assert table is not None
    assert (table.tags, table.point_in_time_recovery, table.protected) == (None, None, True)

    changed = route_of(name=name, queues=[{"name": "messages", "partitions": 1}])
    assert [each.number for each in provision(aws, changed).resolved.generations] == [1, 2]
    apply(aws, plan_drop(changed, SETTINGS, survey(aws, changed, SETTINGS)))
    assert survey(aws, changed, SETTINGS).queues == {}
    assert observe_table(aws, table_name(route)) is None


@pytest.mark.promise(7)
@pytest.mark.parametrize("aws", ["embedded-sqs-server"], indirect=True)
def test_a_queue_that_appears_between_looking_and_making_is_not_taken_over(aws: Counted) -> None:
    """CreateQueue answers with the URL of anybody's queue that has the same attributes (moto gives it our tags, too)."""
    route = route_of(name="raced")
    observed = survey(aws, route, SETTINGS)
    actions = plan(desired(route, observed.generations, SETTINGS), observed)
    name = queue_name(route, "urgent", 1, 0)
    made = next(action for action in actions if action.resource == name)
    aws.aws.call("sqs", "CreateQueue", {**made.request, "tags": {"team": "payments"}})
    with pytest.raises(NotOursError, match=name):
        apply(aws, actions)


@pytest.mark.parametrize("aws", ["embedded-sqs-server"], indirect=True)
def test_a_name_that_was_just_deleted_says_when_to_come_again(aws: Counted) -> None:
    """SQS gives a name out again after 60 seconds; bounded, and not a failure of the route."""
    route = route_of(name="again")
    provision(aws, route)
    apply(aws, plan_drop(route, SETTINGS, survey(aws, route, SETTINGS)))
    with pytest.raises(ProvisionError) as caught:
        provision(aws, route)
    assert caught.value.code == "QueueDeletedRecently"
    assert caught.value.retry_after_seconds == pytest.approx(61)
