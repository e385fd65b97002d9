"""Creates, changes, deletes and describes a route's resources on AWS: SQS queues and a DynamoDB table.

Gather (`observe.py`, `state.py`), decide (`desired.py`, `plan.py`, `table_plan.py`, pure), apply (`apply.py`). Blocking,
by boto3: callers with an event loop use threads. `chaski provision` and the operator take the same steps:

    observed = observe(aws, route, settings)                  # found by name, read with tags
    wanted = desired(route, observed, settings)
    actions = plan(wanted, observed)                          # raises NotOursError; empty: nothing to change
    applied = apply(aws, actions)                             # may be killed anywhere: the next run continues
    resolved = resolved_route(wanted, observed, applied.urls)

All state of a route's queues is in their tags; nothing else has to be remembered.
"""
