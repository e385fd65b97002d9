"""Serves the embedded queues by the SQS JSON protocol (AWS JSON 1.0), so that SDKs and `aws sqs` can use them.

The server has no authentication: signatures are neither required nor verified, except their time. The server binds 127.0.0.1
by default; anyone who can reach it has full access.

Protocol: https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-making-api-requests-json.html
"""

import asyncio
import logging
import uuid
from collections.abc import Mapping
from email.utils import formatdate
from typing import Any

import orjson
from aiohttp import web

from chaski_core.errors import BackendRejectedError, BackendUnavailableError
from chaski_embedded.broker.broker import EmbeddedBroker
from chaski_embedded.sqs_api.call import Action, Call
from chaski_embedded.sqs_api.errors import ErrorResponse, error_response
from chaski_embedded.sqs_api.fields import check_signing_time, parse_request
from chaski_embedded.sqs_api.message_actions import MESSAGE_ACTIONS
from chaski_embedded.sqs_api.queue_actions import QUEUE_ACTIONS
from chaski_runtime.process import http_server
from chaski_runtime.process.http_server import HttpServer

DEFAULT_HOST = "127.0.0.1"
MAX_REQUEST_BYTES = 8_388_608  # a batch of 1 MiB with each character as a six-byte escape, and its fields
BODY_TIMEOUT_SECONDS = 30.0
IDLE_TIMEOUT_SECONDS = 75.0
SHUTDOWN_SECONDS = 10.0
ACTIONS: Mapping[str, Action] = {**QUEUE_ACTIONS, **MESSAGE_ACTIONS}
UNSUPPORTED = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "ListDeadLetterSourceQueues",
        "ListMessageMoveTasks",
        "RemovePermission",
        "StartMessageMoveTask",
    }
)
_CONTENT_TYPE = "application/x-amz-json-1.0"
_TARGET_PREFIX = "AmazonSQS."
_BROKER = web.AppKey("broker", EmbeddedBroker)
_CLOSING = web.AppKey("closing", asyncio.Event)
_log = logging.getLogger(__name__)


async def start_server(broker: EmbeddedBroker, host: str = DEFAULT_HOST, port: int = 0) -> HttpServer:
    """Serves a broker on an address, or on `EVERY_ADDRESS`; its URL is the value of AWS_ENDPOINT_URL_SQS.

    `close` ends long polls with an empty response, and completes other requests. It keeps the broker.

    Args:
        broker: the queues.
        host: address to listen on.
        port: 0 for any free one.

    Raises:
        OSError: could not listen on the address.
    """
    return await http_server.start(
        make_app(broker),
        host,
        port,
        stop_seconds=SHUTDOWN_SECONDS,
        idle_seconds=IDLE_TIMEOUT_SECONDS,
        cancel_handlers=True,  # a client that disconnects ends its long poll
    )


def make_app(broker: EmbeddedBroker) -> web.Application:
    """The server's application; its handlers must be cancelled with their clients, as in `start_server`."""
    app = web.Application(client_max_size=MAX_REQUEST_BYTES)
    app[_BROKER] = broker
    app[_CLOSING] = asyncio.Event()
    app.router.add_post("/{path:.*}", _handle)  # SDKs post to `/`, some to the queue's URL
    app.on_shutdown.append(_close_polls)
    return app


async def _close_polls(app: web.Application) -> None:
    app[_CLOSING].set()


async def _handle(request: web.Request) -> web.Response:
    response = await _respond(request)
    # Clients correct their clocks by this: the time by which their signatures were checked.
    response.headers["Date"] = formatdate(request.app[_BROKER].now_ms() / 1000, usegmt=True)
    return response


async def _respond(request: web.Request) -> web.Response:
    try:
        document = await _execute(request)
    except BackendRejectedError as error:
        return _error_response(error_response(error.code, error.reason))
    except BackendUnavailableError as error:
        return _error_response(error_response("ServiceUnavailable", str(error)))
    except web.HTTPRequestEntityTooLarge:
        reason = f"A request can't be longer than {MAX_REQUEST_BYTES} bytes."
        return _error_response(error_response("RequestEntityTooLarge", reason))
    except Exception:  # noqa: BLE001 - the client gets an error of the protocol, the log gets the traceback
        _log.exception("an SQS request failed")
        return _error_response(error_response("InternalError", "Internal error; see the server's log."))
    return _response(200, {}, document)


async def _execute(request: web.Request) -> dict[str, Any] | None:
    action = _action(request.headers.get("X-Amz-Target", ""))
    broker = request.app[_BROKER]
    check_signing_time(request.headers, broker.now_ms())
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        reason = f"The request body was not received within {BODY_TIMEOUT_SECONDS:g} s."
        raise BackendRejectedError("RequestTimeout", reason) from error
    base_url = f"{request.scheme}://{request.host}"
    trace_header = request.headers.get("X-Amzn-Trace-Id", "")
    return await action(Call(broker, parse_request(body), base_url, request.app[_CLOSING], trace_header=trace_header))


def _action(target: str) -> Action:
    name = target.removeprefix(_TARGET_PREFIX)
    if name in UNSUPPORTED:
        raise BackendRejectedError("UnsupportedOperation", f"{name} is not supported.")
    if not target.startswith(_TARGET_PREFIX) or name not in ACTIONS:
        reason = f'The header X-Amz-Target is "{target}"; expected AmazonSQS.<action> of the SQS JSON protocol.'
        raise BackendRejectedError("InvalidAction", reason)
    return ACTIONS[name]


def _error_response(error: ErrorResponse) -> web.Response:
    return _response(error.status, error.headers, error.body)


def _response(status: int, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> web.Response:
    return web.Response(
        status=status,
        headers={"x-amzn-RequestId": str(uuid.uuid4()), **headers},
        body=b"" if body is None else orjson.dumps(body),
        content_type=_CONTENT_TYPE,
    )
