"""Older queues are deleted once drained, as a whole generation, and not before."""

from collections.abc import Callable

from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import ProvisionSettings, desired
from chaski_aws.provision.observe import observe
from chaski_aws.provision.plan import plan_drained
from chaski_cli.provisioning.provision import OlderQueues, find_drained
from support.operator.provisioning import Counted, provision, route_of

SETTINGS = ProvisionSettings("chaski")
CHANGED = route_of(queues=[{"name": "messages", "partitions": 1}])


class PassingTime:
    """A virtual clock; `at_sleep` runs at each sleep."""

    def __init__(self, start: float) -> None:
        self.at = start
        self.sleeps = 0
        self.at_sleep: Callable[[], object] | None = None

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Advances the clock."""
        self.at += seconds
        self.sleeps += 1
        if self.at_sleep is not None:
            self.at_sleep()


def delete_drained(aws: Counted, time: PassingTime) -> frozenset[str]:
    """Deletes drained queues as `chaski provision` does; their names."""
    observed = observe(aws, CHANGED, SETTINGS)
    wanted = desired(CHANGED, observed, SETTINGS)
    drained = find_drained(aws, OlderQueues(wanted, observed), wait=True, sleep=time.sleep, now=time.now)
    apply(aws, plan_drained(wanted, observed, drained))
    return drained


def blocked_at(aws: Counted) -> float:
    """When sends to the older queues were blocked."""
    observed = observe(aws, CHANGED, SETTINGS)
    return max(queue.modified_at for queue in observed.own_queues if queue.is_blocked)


def send(aws: Counted, url: str) -> None:
    """Sends a message to a queue (moto does not enforce policies)."""
    message = {"MessageBody": "{}", "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    aws.aws.call("sqs", "SendMessage", {"QueueUrl": url, **message})


def test_an_empty_generation_is_deleted_a_minute_after_its_send_block_is_in_force(aws: Counted) -> None:
    """All three of its queues, and none of the new one."""
    provision(aws, route_of())
    provision(aws, CHANGED)
    time = PassingTime(blocked_at(aws))
    deleted = delete_drained(aws, time)
    assert len(deleted) == 3
    assert time.sleeps >= 6  # two minutes, sampled every 20 s
    left = observe(aws, CHANGED, SETTINGS)
    assert [each.number for each in left.generations] == [2]
    aws.writes.clear()
    assert [each.number for each in provision(aws, CHANGED).resolved.generations] == [2]
    assert aws.writes == []


def test_a_generation_with_one_message_is_kept(aws: Counted) -> None:
    """Without waiting for it."""
    first = provision(aws, route_of())
    provision(aws, CHANGED)
    send(aws, first.resolved.current.queues["urgent"][0])
    time = PassingTime(blocked_at(aws) + 1_000)
    assert delete_drained(aws, time) == frozenset()
    assert time.sleeps == 0
    assert [each.number for each in observe(aws, CHANGED, SETTINGS).generations] == [1, 2]


def test_a_message_that_appears_while_sampling_keeps_the_generation(aws: Counted) -> None:
    """A single zero proves nothing."""
    first = provision(aws, route_of())
    provision(aws, CHANGED)
    time = PassingTime(blocked_at(aws) + 1_000)
    url = first.resolved.current.queues["urgent"][0]
    time.at_sleep = lambda: send(aws, url) if time.sleeps == 1 else None
    delete_drained(aws, time)
    assert [each.number for each in observe(aws, CHANGED, SETTINGS).generations] == [1, 2]


def test_a_retired_rung_is_deleted_once_drained(aws: Counted) -> None:
    """Independently of generations."""
    provision(aws, route_of())
    fewer = route_of(
        retry={
            "rungs": [{"name": "fast", "delaySeconds": 5}],
            "ladders": [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}],
        }
    )
    provision(aws, fewer)
    observed = observe(aws, fewer, SETTINGS)
    wanted = desired(fewer, observed, SETTINGS)
    time = PassingTime(max(queue.modified_at for queue in observed.own_queues if queue.is_blocked) + 1_000)
    drained = find_drained(aws, OlderQueues(wanted, observed), wait=True, sleep=time.sleep, now=time.now)
    assert len(drained) == 1
    apply(aws, plan_drained(wanted, observed, drained))
    assert provision(aws, fewer).resolved.retired_rungs == ()
