"""The actions of the SQS API on messages."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from chaski_core.errors import BackendRejectedError
from chaski_core.ports import MAX_BATCH_ENTRIES, MAX_HIDDEN_SECONDS, Failed, VisibilityChange
from chaski_embedded.broker.queue import AttributedReceived
from chaski_embedded.sqs_api.batches import batch_json, check_batch_size, check_fifo_batch, each_entry, read_entries
from chaski_embedded.sqs_api.call import Action, Call
from chaski_embedded.sqs_api.errors import missing
from chaski_embedded.sqs_api.fields import Fields, read_integer, read_text, require_text
from chaski_embedded.sqs_api.messages import (
    Submission,
    check_size,
    check_token,
    outgoing,
    read_selection,
    read_submission,
    received_json,
    sent_json,
)

MAX_WAIT_SECONDS = 20
Item = TypeVar("Item")


async def send_message(call: Call) -> dict[str, Any]:
    """Sends one message."""
    settings = await call.settings()
    submission = read_submission(call.fields, _content_based(settings))
    check_size(submission, _max_size(settings))
    return _succeeded((await _send(call, [submission]))[0])


async def send_message_batch(call: Call) -> dict[str, Any]:
    """Sends up to ten messages, in order; entries fail one by one."""
    settings = await call.settings()
    entries = read_entries(call.fields)
    content_based = _content_based(settings)
    check_fifo_batch(entries.values(), content_based)
    read = each_entry(entries.values(), lambda entry: read_submission(entry, content_based))
    check_batch_size(read)
    sized = each_entry(read, lambda submission: check_size(submission, _max_size(settings), of_batch=True))
    return await _execute_batch(entries, sized, lambda valid: _send(call, valid))


async def receive_message(call: Call) -> dict[str, Any]:
    """Receives up to ten messages; waits for the first one until the client disconnects or the server closes."""
    settings = await call.settings()
    selection = read_selection(call.fields)
    count = read_integer(
        call.fields,
        "MaxNumberOfMessages",
        range(1, MAX_BATCH_ENTRIES + 1),
        "Must be between 1 and 10, if provided.",
    )
    wait = read_integer(call.fields, "WaitTimeSeconds", range(MAX_WAIT_SECONDS + 1))
    visibility = read_integer(call.fields, "VisibilityTimeout", range(MAX_HIDDEN_SECONDS + 1))
    attempt = read_text(call.fields, "ReceiveRequestAttemptId")
    receiving = call.queue.receive(
        max_messages=count or 1,
        wait_seconds=int(settings["ReceiveMessageWaitTimeSeconds"]) if wait is None else wait,
        visibility_seconds=int(settings["VisibilityTimeout"]) if visibility is None else visibility,
        attempt_id="" if attempt is None else check_token(attempt, "ReceiveRequestAttemptId"),
    )
    messages = await _until_closed(call, receiving)
    return {"Messages": [received_json(each, selection) for each in messages]} if messages else {}


async def delete_message(call: Call) -> None:
    """Deletes a message in flight."""
    _succeeded((await call.queue.delete([_handle(call.fields)]))[0])


async def delete_message_batch(call: Call) -> dict[str, Any]:
    """Deletes up to ten messages in flight; entries fail one by one."""
    entries = read_entries(call.fields)
    return await _execute_batch(entries, each_entry(entries.values(), _handle), _unless_failed(call.queue.delete))


async def change_message_visibility(call: Call) -> None:
    """Changes the visibility timeout of a message."""
    _succeeded((await call.queue.change_visibility([_visibility_change(call.fields)]))[0])


async def change_message_visibility_batch(call: Call) -> dict[str, Any]:
    """Changes the visibility timeouts of up to ten messages, in order; entries fail one by one."""
    entries = read_entries(call.fields)
    changes = each_entry(entries.values(), _visibility_change)
    return await _execute_batch(entries, changes, _unless_failed(call.queue.change_visibility))


MESSAGE_ACTIONS: Mapping[str, Action] = {
    "SendMessage": send_message,
    "SendMessageBatch": send_message_batch,
    "ReceiveMessage": receive_message,
    "DeleteMessage": delete_message,
    "DeleteMessageBatch": delete_message_batch,
    "ChangeMessageVisibility": change_message_visibility,
    "ChangeMessageVisibilityBatch": change_message_visibility_batch,
}


def _content_based(settings: Mapping[str, str]) -> bool:
    return settings["ContentBasedDeduplication"] == "true"


def _max_size(settings: Mapping[str, str]) -> int:
    return int(settings["MaximumMessageSize"])


async def _send(call: Call, submissions: Sequence[Submission]) -> list[dict[str, str] | Failed]:
    results = await call.queue.send([outgoing(each, call.trace_header) for each in submissions])
    return [
        result if isinstance(result, Failed) else sent_json(submission, result)
        for submission, result in zip(submissions, results, strict=True)
    ]


def _handle(fields: Fields) -> str:
    return require_text(fields, "ReceiptHandle")


def _visibility_change(fields: Fields) -> VisibilityChange:
    handle = _handle(fields)
    seconds = read_integer(fields, "VisibilityTimeout", range(MAX_HIDDEN_SECONDS + 1))
    if seconds is None:
        raise missing("VisibilityTimeout")
    return VisibilityChange(handle, seconds)


def _succeeded(result: Item | Failed) -> Item:
    if isinstance(result, Failed):
        raise BackendRejectedError(result.code, result.reason)
    return result


def _unless_failed(
    operation: Callable[[Sequence[Item]], Awaitable[Sequence[Failed | None]]],
) -> Callable[[Sequence[Item]], Awaitable[Sequence[dict[str, str] | Failed]]]:
    async def with_results(items: Sequence[Item]) -> Sequence[dict[str, str] | Failed]:
        return [result or {} for result in await operation(items)]

    return with_results


async def _execute_batch(
    entries: Mapping[str, Fields],
    items: Sequence[Item | Failed],
    operation: Callable[[Sequence[Item]], Awaitable[Sequence[dict[str, str] | Failed]]],
) -> dict[str, Any]:
    valid = [item for item in items if not isinstance(item, Failed)]
    done = iter(await operation(valid) if valid else ())
    results = [item if isinstance(item, Failed) else next(done) for item in items]
    return batch_json(dict(zip(entries, results, strict=True)))


async def _until_closed(call: Call, receive: Awaitable[Sequence[AttributedReceived]]) -> Sequence[AttributedReceived]:
    """The received messages, or none once the server is closing; releases them if the client has disconnected."""
    receiving = asyncio.ensure_future(receive)
    closing = asyncio.ensure_future(call.closing.wait())
    try:
        await asyncio.wait((receiving, closing), return_when=asyncio.FIRST_COMPLETED)
    except asyncio.CancelledError:
        receiving.cancel()
        await asyncio.wait((receiving,))
        if not receiving.cancelled() and receiving.exception() is None:
            await call.queue.release(receiving.result())
        raise
    finally:
        closing.cancel()
    if receiving.done():
        return receiving.result()
    receiving.cancel()
    await asyncio.wait((receiving,))
    return () if receiving.cancelled() else receiving.result()
