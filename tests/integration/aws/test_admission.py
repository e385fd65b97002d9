"""Calls by boto3 that need an admission, such as a Lease, when they are sent."""

import asyncio

import pytest

from integration.aws.conftest import FaultySqs
from support.faults.proxy import refuse
from support.operator.provisioning import boto

FIELDS = {"QueueName": "q.fifo"}


async def test_each_attempt_of_a_call_is_admitted(faulty_sqs: FaultySqs) -> None:
    """Botocore would repeat the call after an error; without the admission it does not, and the cause is raised."""
    admissions = iter([True, True, False])

    def admit() -> None:
        if not next(admissions):
            raise LookupError("the Lease was lost")

    url = faulty_sqs.proxy.url
    aws = await asyncio.to_thread(boto, url, url, admit)
    await asyncio.to_thread(aws.call, "sqs", "GetQueueUrl", FIELDS)
    faulty_sqs.proxy.set_lasting(refuse(503))
    with pytest.raises(LookupError, match="the Lease was lost"):
        await asyncio.to_thread(aws.call, "sqs", "GetQueueUrl", FIELDS)
    assert faulty_sqs.proxy.seen.count("GetQueueUrl") == 2
