"""Makes, alters, drops and describes what a route needs on AWS: SQS queues and a DynamoDB table.

Gather (`observing.py`), decide (`desired.py`, `generations.py`, `planning.py`, pure), apply (`applying.py`). Blocking,
by boto3: callers with a loop use threads. `chaski provision` and the operator go the same way:

    observed = survey(aws, route, settings)                   # what is there, found by name and read with its tags
    wanted = desired(route, observed.generations, settings)
    actions = plan(wanted, observed)                          # raises NotOursError; empty: nothing has to be done
    applied = apply(aws, actions)                             # may be killed anywhere: the next run goes on
    resolved = resolved_route(wanted, observed, applied)

Everything that is known of a route's queues stands in their tags, so that nothing else has to be remembered.
"""
