"""The canary: sends a message by each route now and then to a sink of its own, and measures how long it takes.

It is a producer like any other, and its sink a target like any other: a route takes part by an allow rule that covers the
sink. So what it measures is the whole way: authentication, ingest, queue, worker, guard, network.
"""
