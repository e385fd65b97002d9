"""SQS and DynamoDB for a process that looks at many routes: whatever queues and tables, over one set of connections."""

from chaski_aws.backend import RouteTable, corrected_clock
from chaski_aws.dynamodb.store import DynamoDeadLetters
from chaski_aws.http.credentials import CredentialChain
from chaski_aws.http.endpoints import DYNAMODB, SQS, SessionFactory, open_session, resolve_endpoint
from chaski_aws.http.transport import AwsTransport
from chaski_aws.sqs.queue import SqsQueue
from chaski_core.ports import Clock


class AwsAccount:
    """Made by `open_account`, closed by whoever opened it. It takes no messages from queues."""

    def __init__(self, credentials: CredentialChain, sqs: AwsTransport, dynamodb: AwsTransport, clock: Clock) -> None:
        self._credentials = credentials
        self._sqs = sqs
        self._dynamodb = dynamodb
        self._clock = clock

    def queue(self, url: str) -> SqsQueue:
        """The queue of that URL. Makes no call, and nothing of it is kept."""
        return SqsQueue(self._sqs, url)

    def dead_letters(self, table: RouteTable) -> DynamoDeadLetters:
        """The dead letters in a table. Makes no call."""
        return DynamoDeadLetters(self._dynamodb, table.name, table.retention_days, self._clock)

    async def close(self) -> None:
        """Closes every connection."""
        await self._sqs.close()
        await self._dynamodb.close()
        await self._credentials.close()


async def open_account(clock: Clock, *, open_session: SessionFactory = open_session) -> AwsAccount:
    """Finds the endpoints; makes no request yet.

    Raises:
        BackendRejectedError: `Configuration`; for example no region is set.
    """
    sqs, dynamodb = await resolve_endpoint(SQS, open_session), await resolve_endpoint(DYNAMODB, open_session)
    corrected = corrected_clock(clock)
    credentials = CredentialChain(open_session, seconds=corrected.seconds)
    to_sqs, to_dynamodb = (AwsTransport(each, credentials, clock=corrected) for each in (sqs, dynamodb))
    return AwsAccount(credentials, to_sqs, to_dynamodb, clock)
