"""Older queues are dropped once they are empty for good, as a generation, and not before."""

from collections.abc import Callable

from chaski_aws.provision.apply import apply
from chaski_aws.provision.desired import desired
from chaski_aws.provision.observe import survey
from chaski_aws.provision.plan import plan_drained
from chaski_aws.provision.settings import ProvisionSettings
from chaski_cli.provisioning.waiting import Watch, watch_drained
from support.operator.provisioning import Counted, provision, route_of

SETTINGS = ProvisionSettings("chaski")
CHANGED = route_of(queues=[{"name": "messages", "partitions": 1}])


class PassingTime:
    """Sleeping takes no time; `at_sleep` is run at each sleep."""

    def __init__(self, start: float) -> None:
        self.at = start
        self.sleeps = 0
        self.at_sleep: Callable[[], object] | None = None

    def now(self) -> float:
        """Epoch seconds."""
        return self.at

    def sleep(self, seconds: float) -> None:
        """Lets time pass."""
        self.at += seconds
        self.sleeps += 1
        if self.at_sleep is not None:
            self.at_sleep()


def looked(aws: Counted, time: PassingTime) -> frozenset[str]:
    """What is drained, as `chaski provision` looks."""
    observed = survey(aws, CHANGED, SETTINGS)
    wanted = desired(CHANGED, observed.generations, SETTINGS)
    drained = watch_drained(aws, Watch(wanted, observed), wait=True, sleep=time.sleep, now=time.now)
    apply(aws, plan_drained(wanted, observed, drained))
    return drained


def fenced_at(aws: Counted) -> float:
    """When the fence of the older queues was set."""
    observed = survey(aws, CHANGED, SETTINGS)
    return max(queue.modified_at for queue in observed.own_queues if queue.fenced)


def send(aws: Counted, url: str) -> None:
    """Puts a message on a queue (moto asks no policy)."""
    message = {"MessageBody": "{}", "MessageGroupId": "g", "MessageDeduplicationId": "1"}
    aws.aws.call("sqs", "SendMessage", {"QueueUrl": url, **message})


def test_an_empty_generation_goes_a_minute_after_its_fence_is_in_force(aws: Counted) -> None:
    """All three of its queues, and nothing of the new one."""
    provision(aws, route_of())
    provision(aws, CHANGED)
    time = PassingTime(fenced_at(aws))
    gone = looked(aws, time)
    assert len(gone) == 3
    assert time.sleeps >= 6  # two minutes, looked at every 20 s
    left = survey(aws, CHANGED, SETTINGS)
    assert [each.number for each in left.generations] == [2]
    aws.writes.clear()
    assert [each.number for each in provision(aws, CHANGED).resolved.generations] == [2]
    assert aws.writes == []


def test_a_generation_with_one_message_stays_whole(aws: Counted) -> None:
    """And nobody waits for it."""
    first = provision(aws, route_of())
    provision(aws, CHANGED)
    send(aws, first.resolved.current.queues["urgent"][0])
    time = PassingTime(fenced_at(aws) + 1_000)
    assert looked(aws, time) == frozenset()
    assert time.sleeps == 0
    assert [each.number for each in survey(aws, CHANGED, SETTINGS).generations] == [1, 2]


def test_a_message_that_shows_while_looking_keeps_the_generation(aws: Counted) -> None:
    """One zero is no proof."""
    first = provision(aws, route_of())
    provision(aws, CHANGED)
    time = PassingTime(fenced_at(aws) + 1_000)
    url = first.resolved.current.queues["urgent"][0]
    time.at_sleep = lambda: send(aws, url) if time.sleeps == 1 else None
    looked(aws, time)
    assert [each.number for each in survey(aws, CHANGED, SETTINGS).generations] == [1, 2]


def test_a_retired_rung_goes_once_it_is_empty(aws: Counted) -> None:
    """Alone, whatever becomes of generations."""
    provision(aws, route_of())
    fewer = route_of(
        retry={
            "rungs": [{"name": "fast", "delaySeconds": 5}],
            "ladders": [{"class": "5xx", "retriesPerRung": 1, "rungs": ["fast"]}],
        }
    )
    provision(aws, fewer)
    observed = survey(aws, fewer, SETTINGS)
    wanted = desired(fewer, observed.generations, SETTINGS)
    time = PassingTime(max(queue.modified_at for queue in observed.own_queues if queue.fenced) + 1_000)
    drained = watch_drained(aws, Watch(wanted, observed), wait=True, sleep=time.sleep, now=time.now)
    assert len(drained) == 1
    apply(aws, plan_drained(wanted, observed, drained))
    assert provision(aws, fewer).resolved.retired_rungs == ()
