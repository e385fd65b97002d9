"""A client of Chaski's ingest: sends messages, repeats them until they are accepted, keeps the order of each subject.

    from chaski_client import Client

    with Client("https://chaski-ingest.chaski-system.svc", "shop/orders", token_file="/var/run/secrets/chaski/token") as chaski:
        accepted = chaski.send("order-7", "https://crm.example/hooks", content={"paid": True})

`AsyncClient` has the same methods as coroutines. What to send next, what to repeat and when is decided in `steps`, without I/O;
the two clients make the requests and wait.
"""

from chaski_client.aio import AsyncClient
from chaski_client.errors import NotAcceptedError, RefusedError, SendError
from chaski_client.messages import Accepted, BatchResult, Message, Refused
from chaski_client.steps import Policy
from chaski_client.sync import Client

__all__ = [
    "Accepted",
    "AsyncClient",
    "BatchResult",
    "Client",
    "Message",
    "NotAcceptedError",
    "Policy",
    "Refused",
    "RefusedError",
    "SendError",
]
