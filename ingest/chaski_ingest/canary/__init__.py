"""The canary: sends a message through each route at an interval to a sink of its own, and measures the delivery time.

It is a producer, and its sink a target, like any other: a route takes part by an allow rule that covers the sink. So it
measures the whole path: authentication, ingest, queue, worker, guard, network.
"""
