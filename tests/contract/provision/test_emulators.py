"""Provisioning on emulators in processes: two SQS emulators and DynamoDB Local.

ElasticMQ returns no policy, throughput limit, size or retention; so a send block is set again at every run. DynamoDB
Local has no tags and no point-in-time recovery: it reports that, which is accepted. None of them enforces a policy.
"""

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from chaski_aws.names import queue_name, table_name
from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.errors import NotOursError, ProvisionError
from chaski_aws.provision.observe import observe, observe_queue, observe_table
from chaski_aws.provision.plan import plan, plan_drop
from support.aws.embedded_sqs import ServerProcess
from support.operator.provisioning import Counted, boto, provision, route_of

pytestmark = pytest.mark.landing

SETTINGS = ProvisionSettings("chaski")


@pytest.fixture(params=["embedded-sqs-server", "elasticmq"])
def aws(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counted]:
    """Queues of either emulator, and DynamoDB Local, shared by the tests of a session."""
    tables = request.getfixturevalue("dynamodb_local")
    if request.param == "elasticmq":
        yield Counted(boto(request.getfixturevalue("elasticmq"), tables))
        return
    server = ServerProcess(tmp_path / "queues")
    yield Counted(boto(server.url, tables))
    server.kill()


def test_a_route_is_created_once_changed_and_dropped(aws: Counted) -> None:
    """Created, found complete by a second run, given another map, dropped."""
    name = f"r{uuid.uuid4().hex[:8]}"
    route = route_of(name=name)
    first = provision(aws, route)
    unsupported = {done.action.operation for done in first.applied.done if not done.supported}
    assert unsupported == {"UpdateContinuousBackups"}
    aws.writes.clear()
    assert provision(aws, route).resolved == first.resolved
    assert aws.writes == []
    slow = observe_queue(aws, first.resolved.rungs[1].url.rpartition("/")[2])
    assert slow is not None
    assert slow.attributes["DelaySeconds"] == "900"
    table = observe_table(aws, table_name(route, "chaski"))
    assert table is not None
    assert (table.tags, table.point_in_time_recovery, table.protected) == (None, None, True)

    changed = route_of(name=name, queues=[{"name": "messages", "partitions": 1}])
    assert [each.number for each in provision(aws, changed).resolved.generations] == [1, 2]
    apply(aws, plan_drop(changed, SETTINGS, observe(aws, changed, SETTINGS)))
    assert observe(aws, changed, SETTINGS).queues == {}
    assert observe_table(aws, table_name(route, "chaski")) is None


@pytest.mark.promise(7)
@pytest.mark.parametrize("aws", ["embedded-sqs-server"], indirect=True)
def test_a_queue_created_between_observe_and_apply_is_not_adopted(aws: Counted) -> None:
    """CreateQueue returns the URL of any queue with the same attributes (moto also gives it our tags)."""
    route = route_of(name="raced")
    observed = observe(aws, route, SETTINGS)
    actions = plan(desired(route, observed, SETTINGS), observed)
    name = queue_name(route, "chaski", "urgent", 1, 0)
    made = next(action for action in actions if action.resource == name)
    aws.aws.call("sqs", "CreateQueue", {**made.request, "tags": {"team": "payments"}})
    with pytest.raises(NotOursError, match=name):
        apply(aws, actions)


@pytest.mark.parametrize("aws", ["embedded-sqs-server"], indirect=True)
def test_a_recently_deleted_name_has_a_retry_delay(aws: Counted) -> None:
    """SQS allows the name again after 60 seconds; the error is retryable."""
    route = route_of(name="again")
    provision(aws, route)
    apply(aws, plan_drop(route, SETTINGS, observe(aws, route, SETTINGS)))
    with pytest.raises(ProvisionError) as caught:
        provision(aws, route)
    assert caught.value.code == "QueueDeletedRecently"
    assert caught.value.retry_after_seconds == pytest.approx(61)
