"""The garbage collector of a process that runs for long."""

import gc


def keep_what_is_there() -> None:
    """To be called once a process is set up: what there is by then (modules, schemas, clients) stays to the end.

    Else the collector goes through all of it now and then, for 60 ms each time, in which nothing else is done.
    """
    gc.collect()
    gc.freeze()
