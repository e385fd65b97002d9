"""moto's server, one request at a time: `python serial_moto.py -H 127.0.0.1 -p PORT`.

Its TransactWriteItems copies every table while other threads may write to them ("dictionary changed size during
iteration"), and where a condition fails it restores the copies, which loses concurrent writes.
"""

import argparse
import threading
from collections.abc import Callable, Iterable
from typing import Any

from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


def main() -> None:
    """Serves until it is stopped."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", dest="host", default="127.0.0.1")
    parser.add_argument("-p", dest="port", type=int, required=True)
    given = parser.parse_args()
    application = DomainDispatcherApplication(create_backend_app)
    lock = threading.Lock()

    def one_at_a_time(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        with lock:
            return list(application(environ, start_response))

    run_simple(given.host, given.port, one_at_a_time, threaded=True)


if __name__ == "__main__":
    main()
