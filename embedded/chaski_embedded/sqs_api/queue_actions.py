"""The actions of the SQS API on queues."""

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from chaski_embedded.fifo.queue_attributes import select_attributes
from chaski_embedded.sqs_api.call import Action, Call
from chaski_embedded.sqs_api.errors import invalid_value, missing
from chaski_embedded.sqs_api.fields import read_integer, read_text, read_text_list, read_text_map, require_text

MAX_LISTED = 1_000


async def create_queue(call: Call) -> dict[str, Any]:
    """Creates a FIFO queue, or finds one with the same attributes."""
    name = require_text(call.fields, "QueueName")
    attributes = read_text_map(call.fields, "Attributes")
    url = await call.broker.create_queue(name, attributes, read_text_map(call.fields, "tags"))
    return {"QueueUrl": call.public_url(url)}


async def get_queue_url(call: Call) -> dict[str, Any]:
    """The URL of an existing queue."""
    url = await call.broker.queue_url(require_text(call.fields, "QueueName"))
    return {"QueueUrl": call.public_url(url)}


async def list_queues(call: Call) -> dict[str, Any]:
    """URLs of queues by name, `MaxResults` per page; without it the first 1,000 and no token."""
    prefix = read_text(call.fields, "QueueNamePrefix") or ""
    limit = read_integer(call.fields, "MaxResults", range(1, MAX_LISTED + 1))
    after = _read_token(read_text(call.fields, "NextToken"))
    urls = [url for url in await call.broker.list_queues(prefix) if url > after]
    page = urls[: limit or MAX_LISTED]
    if not page:
        return {}
    document: dict[str, Any] = {"QueueUrls": [call.public_url(url) for url in page]}
    if limit and len(urls) > limit:
        document["NextToken"] = base64.b64encode(page[-1].encode()).decode()
    return document


async def get_queue_attributes(call: Call) -> dict[str, Any]:
    """The requested attributes."""
    names = read_text_list(call.fields, "AttributeNames")
    attributes = select_attributes(names, await call.settings())
    return {"Attributes": attributes} if attributes else {}


async def set_queue_attributes(call: Call) -> None:
    """Sets attributes; others stay."""
    await call.broker.set_attributes(call.broker_url, _require_map(call, "Attributes"))


async def delete_queue(call: Call) -> None:
    """Deletes a queue with its messages."""
    await call.broker.delete_queue(call.broker_url)


async def purge_queue(call: Call) -> None:
    """Deletes every message of a queue."""
    await call.broker.purge_queue(call.broker_url)


async def tag_queue(call: Call) -> None:
    """Adds or replaces tags."""
    await call.broker.tag(call.broker_url, _require_map(call, "Tags"))


async def untag_queue(call: Call) -> None:
    """Removes tags."""
    await call.broker.untag(call.broker_url, read_text_list(call.fields, "TagKeys"))


async def list_queue_tags(call: Call) -> dict[str, Any]:
    """The tags of a queue."""
    tags = await call.broker.list_tags(call.broker_url)
    return {"Tags": dict(tags)} if tags else {}


QUEUE_ACTIONS: Mapping[str, Action] = {
    "CreateQueue": create_queue,
    "GetQueueUrl": get_queue_url,
    "ListQueues": list_queues,
    "GetQueueAttributes": get_queue_attributes,
    "SetQueueAttributes": set_queue_attributes,
    "DeleteQueue": delete_queue,
    "PurgeQueue": purge_queue,
    "TagQueue": tag_queue,
    "UntagQueue": untag_queue,
    "ListQueueTags": list_queue_tags,
}


def _require_map(call: Call, name: str) -> Mapping[str, str]:
    if call.fields.get(name) is None:
        raise missing(name)
    return read_text_map(call.fields, name)


def _read_token(token: str | None) -> str:
    try:
        return base64.b64decode(token or "", validate=True).decode()
    except (binascii.Error, UnicodeDecodeError) as error:
        raise invalid_value(token, "NextToken", "It was not issued by this server.") from error
