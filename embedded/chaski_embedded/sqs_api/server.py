"""The embedded queues offered on the SQS JSON protocol (AWS JSON 1.0), so that SDKs and `aws sqs` can use them.

There is no authentication: signatures are neither asked for nor checked, but for the time at which they were made. The
server binds 127.0.0.1 by default, and everyone who can reach it can do everything.

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
from chaski_embedded.sqs_api import fields
from chaski_embedded.sqs_api.calls import Action, Call
from chaski_embedded.sqs_api.errors import ErrorAnswer, error_answer
from chaski_embedded.sqs_api.message_actions import MESSAGE_ACTIONS
from chaski_embedded.sqs_api.queue_actions import QUEUE_ACTIONS
from chaski_embedded.sqs_api.signing_time import check_signing_time

DEFAULT_HOST = "127.0.0.1"
MAX_REQUEST_BYTES = 8_388_608  # a batch of 1 MiB, each character written as a six-byte escape, and room for its fields
BODY_TIMEOUT_SECONDS = 30.0
IDLE_TIMEOUT_SECONDS = 75.0
SHUTDOWN_SECONDS = 10.0
ACTIONS: Mapping[str, Action] = {**QUEUE_ACTIONS, **MESSAGE_ACTIONS}
NOT_OFFERED = frozenset(
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


class SqsServer:
    """A running server."""

    def __init__(self, runner: web.AppRunner, url: str) -> None:
        self._runner = runner
        self.url = url  # what AWS_ENDPOINT_URL_SQS is set to

    async def close(self) -> None:
        """Takes no more connections, ends long polls with an empty answer, lets the rest finish. Leaves the broker open."""
        await self._runner.cleanup()


async def start_server(broker: EmbeddedBroker, host: str = DEFAULT_HOST, port: int = 0) -> SqsServer:
    """Serves a broker. Port 0 takes a free one. `OSError`: the address is not to be had."""
    runner = web.AppRunner(
        make_app(broker),
        handler_cancellation=True,  # a caller that hangs up ends its long poll
        keepalive_timeout=IDLE_TIMEOUT_SECONDS,
        shutdown_timeout=SHUTDOWN_SECONDS,
        access_log=None,
    )
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
    except OSError:
        await runner.cleanup()
        raise
    bound_port = runner.addresses[0][1]
    return SqsServer(runner, f"http://{f'[{host}]' if ':' in host else host}:{bound_port}")


def make_app(broker: EmbeddedBroker) -> web.Application:
    """The application of the server; run it with `handler_cancellation`, as `start_server` does."""
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
    # By this a client corrects its clock: the time by which its signature was judged.
    response.headers["Date"] = formatdate(request.app[_BROKER].now_ms() / 1000, usegmt=True)
    return response


async def _respond(request: web.Request) -> web.Response:
    try:
        answer = await _answer(request)
    except BackendRejectedError as error:
        return _error_response(error_answer(error.code, error.reason))
    except BackendUnavailableError as error:
        return _error_response(error_answer("ServiceUnavailable", str(error)))
    except web.HTTPRequestEntityTooLarge:
        sentence = f"A request can't be longer than {MAX_REQUEST_BYTES} bytes."
        return _error_response(error_answer("RequestEntityTooLarge", sentence))
    except Exception:  # noqa: BLE001 - the caller gets an answer in its protocol, the log gets the traceback
        _log.exception("an SQS request failed")
        return _error_response(error_answer("InternalError", "The server failed; its log says how."))
    return _response(200, {}, answer)


async def _answer(request: web.Request) -> dict[str, Any] | None:
    action = _action(request.headers.get("X-Amz-Target", ""))
    broker = request.app[_BROKER]
    check_signing_time(request.headers, broker.now_ms())
    try:
        async with asyncio.timeout(BODY_TIMEOUT_SECONDS):
            body = await request.read()
    except TimeoutError as error:
        sentence = f"The request body did not come within {BODY_TIMEOUT_SECONDS:g} s."
        raise BackendRejectedError("RequestTimeout", sentence) from error
    base_url = f"{request.scheme}://{request.host}"
    trace_header = request.headers.get("X-Amzn-Trace-Id", "")
    return await action(
        Call(broker, fields.parse_request(body), base_url, request.app[_CLOSING], trace_header=trace_header)
    )


def _action(target: str) -> Action:
    name = target.removeprefix(_TARGET_PREFIX)
    if name in NOT_OFFERED:
        raise BackendRejectedError("UnsupportedOperation", f"{name} is not offered here.")
    if not target.startswith(_TARGET_PREFIX) or name not in ACTIONS:
        sentence = f'The header X-Amz-Target is "{target}"; expected AmazonSQS.<action> of the SQS JSON protocol.'
        raise BackendRejectedError("InvalidAction", sentence)
    return ACTIONS[name]


def _error_response(answer: ErrorAnswer) -> web.Response:
    return _response(answer.status, answer.headers, answer.body)


def _response(status: int, headers: Mapping[str, str], body: Mapping[str, Any] | None) -> web.Response:
    return web.Response(
        status=status,
        headers={"x-amzn-RequestId": str(uuid.uuid4()), **headers},
        body=b"" if body is None else orjson.dumps(body),
        content_type=_CONTENT_TYPE,
    )
