"""Emulators of SQS and DynamoDB, each in its own process."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from support.aws.dynamodb_local import DynamoDbLocal
from support.aws.elasticmq import ElasticMq
from support.aws.embedded_sqs import ServerProcess


@asynccontextmanager
async def running_emulators(queue_maker: str, folder: Path) -> AsyncIterator[tuple[str, str]]:
    """URLs of queues (`embedded` or `elasticmq`) and of DynamoDB Local."""
    embedded = queue_maker == "embedded"
    tables = await asyncio.to_thread(DynamoDbLocal)
    try:
        queues = await asyncio.to_thread(lambda: ServerProcess(folder / "queues") if embedded else ElasticMq())
        try:
            yield queues.url, tables.url
        finally:
            await asyncio.to_thread(queues.stop)
    finally:
        await asyncio.to_thread(tables.stop)
