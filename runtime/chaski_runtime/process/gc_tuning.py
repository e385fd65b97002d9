"""The garbage collector of a process that runs for long."""

import gc

_NEW_OBJECTS = 20_000  # a few MiB. What messages are made of goes by itself; the usual 700 are there every 5 messages


def freeze_startup_objects() -> None:
    """To be called once a process is set up: what there is by then (modules, schemas, clients) stays to the end.

    Else the collector goes through all of it now and then, for 60 ms each time, in which nothing else is done. And it
    looks at what came since less often.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, *gc.get_threshold()[1:])
