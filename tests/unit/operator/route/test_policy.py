"""What follows from what a look found."""

from typing import Any

import pytest

from chaski_aws.provision.desired import desired
from chaski_aws.provision.errors import NotOursError, Problem, ProvisionError, problem_of
from chaski_aws.provision.settings import ProvisionSettings
from chaski_aws.provision.state import Observed, ObservedQueue
from chaski_core.errors import FieldError
from chaski_operator.kube.apply import ForeignObjectError
from chaski_operator.route.aws_resources import ProvisionResult
from chaski_operator.route.policy import RouteObservation, cloud_verdicts, is_terminal, next_look, reason_of, verdicts
from chaski_operator.settings import ReconcileIntervals
from chaski_runtime.kube.client import KubeApiError, KubeRefusedError, KubeUnavailableError
from unit.operator.making import route_of

PACE = ReconcileIntervals()
FOREIGN = NotOursError(Problem("sqs", "CreateQueue", "q", "NotOurs", "somebody's", None, "rename"))
OBJECT: dict[str, Any] = {"kind": "Deployment", "metadata": {"namespace": "n", "name": "d"}}


def aws(code: str, service: str = "sqs") -> ProvisionError:
    """An error of AWS."""
    return ProvisionError(problem_of(service, "CreateQueue", "q", code, "told so"))


@pytest.mark.parametrize(
    ("error", "queues", "tables"),
    [
        (aws("AccessDenied"), ("False", "AccessDenied"), ("Unknown", "Pending")),
        (aws("RequestThrottled"), ("Unknown", "RequestThrottled"), ("Unknown", "Pending")),
        (aws("Unreachable"), ("Unknown", "Unreachable"), ("Unknown", "Pending")),
        (aws("QueueDeletedRecently"), ("False", "RecentlyDeleted"), ("Unknown", "Pending")),
        (aws("InvalidAttributeValue"), ("False", "InvalidAttributeValue"), ("Unknown", "Pending")),
        (FOREIGN, ("False", "QueueNotOwned"), ("Unknown", "Pending")),
        (aws("TableNotActive", "dynamodb"), ("Unknown", "Pending"), ("False", "TableCreating")),
        (aws("AccessDeniedException", "dynamodb"), ("Unknown", "Pending"), ("False", "AccessDenied")),
        (None, ("Unknown", "Pending"), ("Unknown", "Pending")),
    ],
    ids=str,
)
def test_a_fault_of_aws_is_told_where_it_is(
    error: ProvisionError | None, queues: tuple[str, str], tables: tuple[str, str]
) -> None:
    """What passes by itself is unknown, what does not is false; the sentence says what to do."""
    first, second = cloud_verdicts(None, error)
    assert (first.status, first.reason) == queues
    assert (second.status, second.reason) == tables


def test_of_a_route_with_faults_nothing_else_is_known() -> None:
    """All conditions are there from the first look on."""
    verdict, *others = verdicts(RouteObservation(faults=[FieldError("spec.queues", "is missing")]))
    assert {each.status for each in others} == {"Unknown"}
    assert (verdict.type, verdict.status, verdict.reason) == ("Accepted", "False", "InvalidSpec")
    assert "spec.queues: is missing" in verdict.message


@pytest.mark.parametrize(
    ("error", "terminal"),
    [
        (aws("AccessDenied"), False),
        (aws("InvalidAttributeValue"), True),
        (FOREIGN, True),
        (ForeignObjectError(OBJECT), True),
        (KubeRefusedError(422, "Invalid", "no"), True),
        (KubeRefusedError(409, "Conflict", "no"), False),
        (KubeRefusedError(403, "Forbidden", "no"), False),
        (KubeUnavailableError("away"), False),
    ],
    ids=str,
)
def test_what_only_a_person_can_mend_is_told_from_what_passes(error: Any, terminal: bool) -> None:
    """The first is looked at every five minutes, the second soon."""
    assert is_terminal(error) == terminal
    is_aws = isinstance(error, ProvisionError)
    found = RouteObservation(
        route=route_of(), cloud_error=error if is_aws else None, apply_error=None if is_aws else error
    )
    assert (next_look(found, 1, PACE) == PACE.terminal_retry_seconds) == terminal


@pytest.mark.parametrize(("failures", "seconds"), [(1, 1), (2, 2), (4, 8), (7, 60), (1000, 60)])
def test_a_passing_fault_is_tried_again_later_and_later(failures: int, seconds: float) -> None:
    """Doubling, up to a minute."""
    error: KubeApiError = KubeUnavailableError("away")
    assert next_look(RouteObservation(route=route_of(), apply_error=error), failures, PACE) == seconds


def test_aws_may_ask_for_more_time() -> None:
    """But never for more than the most."""
    assert next_look(RouteObservation(route=route_of(), cloud_error=aws("RequestThrottled")), 1, PACE) == 5
    assert next_look(RouteObservation(route=route_of(), cloud_error=aws("QueueDeletedRecently")), 1, PACE) == 60


def test_reasons_fit_into_a_condition() -> None:
    """Whatever AWS says."""
    assert reason_of(aws("AWS.SimpleQueueService.Odd-Thing")).isalnum()
    assert reason_of(aws("")) == "Failed"


@pytest.mark.parametrize(
    ("visible", "in_flight", "delayed", "status"),
    [(96_000, 0, 0, "False"), (96_001, 0, 0, "True"), (95_000, 1_000, 0, "False"), (95_000, 1_000, 1, "True")],
)
def test_a_queue_near_what_sqs_looks_at_is_told(visible: int, in_flight: int, delayed: int, status: str) -> None:
    """Whatever state its messages are in, from four fifths of 120,000 on; queues of others are nobody's business here."""

    def queue(name: str, count: int) -> ObservedQueue:
        attributes = {
            "ApproximateNumberOfMessages": str(count),
            "ApproximateNumberOfMessagesNotVisible": str(in_flight),
            "ApproximateNumberOfMessagesDelayed": str(delayed),
        }
        return ObservedQueue(name, f"https://q/{name}", attributes, {})

    queues = {each.name: each for each in (queue("deep", visible), queue("small", 5), queue("others", 200_000))}
    observed = Observed(queues, ours=frozenset({"deep", "small"}))
    settled = ProvisionResult(observed, desired(route_of(), (), ProvisionSettings("chaski")), (), None, None)
    (verdict,) = [
        each for each in verdicts(RouteObservation(route=route_of(), settled=settled)) if each.type == "BacklogLimit"
    ]
    assert verdict.status == status
    assert verdict.message.startswith("deep: ") == (status == "True")
    assert "small" not in verdict.message
