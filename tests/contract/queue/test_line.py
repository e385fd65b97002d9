"""The order of groups as recorded on AWS (research/sqs.md; LocalStack's tests marked aws.validated).

AWS promises no order between groups, but its recordings agree on one: groups are served in the order in
which their first message became visible, so one that becomes visible again is served last.
"""

import pytest

from chaski_core.ports import VisibilityChange
from contract.conftest import QueueWorld
from contract.queue.test_fifo import names, take

pytestmark = pytest.mark.differs("elasticmq", "the next group is the one whose hash comes first")


@pytest.mark.promise(9)
async def test_groups_that_expired_go_to_the_end(queues: QueueWorld) -> None:
    """AWSV test_fifo_receive_message_visibility_timeout_shared_in_group."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "a3", "a4", "b1", "c1")
    assert names(await take(queue, 2, seconds=1)) == ["a1", "a2"]
    assert names(await take(queue, 1, seconds=1)) == ["b1"]
    await queues.pass_time(2)
    assert names(await take(queue, seconds=0)) == ["c1", "a1", "a2", "a3", "a4", "b1"]


@pytest.mark.promise(9)
async def test_groups_received_with_visibility_0_go_to_the_end(queues: QueueWorld) -> None:
    """AWSV test_fifo_receive_message_with_zero_visibility_timeout."""
    queue = await queues.make()
    await queues.send(queue, "a1", "b1", "b2", "c1", "a2")
    assert names(await take(queue, 3, seconds=0)) == ["a1", "a2", "b1"]
    assert names(await take(queue, seconds=0)) == ["c1", "a1", "a2", "b1", "b2"]


@pytest.mark.promise(9)
@pytest.mark.parametrize("hidden", [0, 1])
async def test_a_group_whose_head_is_released_goes_to_the_end(queues: QueueWorld, hidden: int) -> None:
    """AWSV test_fifo_message_group_visibility_after_terminate_visibility_timeout, ..._after_change_message_visibility."""
    queue = await queues.make()
    await queues.send(queue, "a1", "a2", "b1")
    head, _ = await take(queue, 2)
    assert await queue.change_visibility([VisibilityChange(head.receipt_handle, hidden)]) == [None]
    await queues.pass_time(2)
    assert names(await take(queue, 3)) == ["b1", "a1"]


async def test_after_a_delete_the_group_has_the_position_of_its_next_message(queues: QueueWorld) -> None:
    """AWSV test_fifo_message_group_visibility_after_delete."""
    queue = await queues.make()
    await queues.send(queue, "a1", "b1", "a2", "b2", "a3", "a4", "c1")
    held = await take(queue, 2)
    assert await queue.delete([each.receipt_handle for each in held]) == [None, None]
    assert names(await take(queue)) == ["b1", "b2", "a3", "a4", "c1"]


async def test_a_partial_delete_leaves_the_group_locked(queues: QueueWorld) -> None:
    """AWSV test_fifo_message_group_visibility_after_partial_delete."""
    queue = await queues.make()
    await queues.send(queue, "a1", "b1", "a2", "b2", "a3", "a4", "c1")
    held = await take(queue, 2)
    assert await queue.delete([held[0].receipt_handle]) == [None]
    assert names(await take(queue)) == ["b1", "b2", "c1"]
