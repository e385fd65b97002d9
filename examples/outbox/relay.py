"""Sends the rows of an outbox in PostgreSQL to Chaski, in order, and deletes each once it is accepted.

Settings (environment): DATABASE_URL, CHASKI_URL, CHASKI_ROUTE (NAMESPACE/NAME), TOKEN_FILE (in a cluster). Run any number: one
sends, the others wait for its lock. It may be killed at any time. If that is between the acceptance of a message and the
deletion of its row, the message is sent again with its id; ingest knows the id for five minutes, and makes no second message.
"""

import logging
import os
import time
from typing import Any

import psycopg

from chaski_client import BatchResult, Client, Message, SendError

_log = logging.getLogger("outbox")
_LOCK = 0x43484153  # of PostgreSQL's advisory locks: any number that nothing else in the database uses
_ROWS = 500  # of one request
_IDLE_SECONDS, _FAILED_SECONDS = 0.2, 5.0
_NEXT = "SELECT position, id, subject, url, content FROM outbox ORDER BY position LIMIT %s"
_REFUSED = """
    WITH row AS (DELETE FROM outbox WHERE position = %s RETURNING position, id, subject, url, content)
    INSERT INTO outbox_refused SELECT row.*, %s, %s FROM row"""


def send_next(database: psycopg.Connection[Any], chaski: Client) -> int:
    """Sends the first rows; returns how many of them are settled."""
    rows = database.execute(_NEXT, (_ROWS,)).fetchall()
    database.commit()  # no transaction is open while a request is in progress
    if not rows:
        return 0
    places = {str(id_): position for position, id_, *_ in rows}
    messages = [
        Message(subject=subject, url=url, content=content, id=str(id_)) for _, id_, subject, url, content in rows
    ]
    result = chaski.send_all(messages)
    settle(database, result, places)
    return len(result.accepted) + len(result.refused)


def settle(database: psycopg.Connection[Any], result: BatchResult, places: dict[str, int]) -> None:
    """Deletes the rows that were accepted, and moves those that were refused. Rows that are left stay, in order."""
    with database.transaction():
        accepted = [places[each.id] for each in result.accepted]
        database.execute("DELETE FROM outbox WHERE position = ANY(%s)", (accepted,))
        for each in result.refused:
            database.execute(_REFUSED, (places[each.message.id], each.status, each.reason))


def main() -> None:
    """Runs until it is stopped."""
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    token_file = os.environ.get("TOKEN_FILE") or None
    with (
        psycopg.connect(os.environ["DATABASE_URL"]) as database,
        Client(os.environ["CHASKI_URL"], os.environ["CHASKI_ROUTE"], token_file=token_file) as chaski,
    ):
        database.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))  # held by the session: it ends with the connection
        database.commit()
        while True:
            try:
                settled = send_next(database, chaski)
            except SendError as error:  # such as 401 or 404: nothing was sent
                _log.warning("nothing was sent: %s", error)
                time.sleep(_FAILED_SECONDS)
                continue
            if not settled:
                time.sleep(_IDLE_SECONDS)


if __name__ == "__main__":
    main()
