"""What the client sends, repeats and gives up, without I/O."""

import json
from collections.abc import Sequence
from typing import Any

import pytest

from chaski_client.errors import NotAcceptedError, RefusedError, SendError
from chaski_client.messages import Accepted, Message
from chaski_client.responses import Response, retry_after
from chaski_client.steps import BATCH, ONE, Pause, Policy, Post, Steps, sending, sending_lines
from chaski_core.retry.backoff import Backoff

ACCEPTED = {"messageId": "m", "id": "i", "subject": "s", "queue": "q", "partition": 0}
POLICY = Policy(10.0, Backoff(first_seconds=1.0, longest_seconds=4.0))


def middle() -> float:
    """A random number."""
    return 0.5


class Driver:
    """Answers the steps from a list; time passes with the pauses, and half a second with each request."""

    def __init__(self, answers: Sequence[tuple[int, Any]], after: float | None = None, *, goes_on: bool = True) -> None:
        self._answers = list(answers)
        self._after = after
        self._goes_on = goes_on
        self.now = 0.0
        self.posts: list[Post] = []
        self.pauses: list[float] = []

    def run(self, steps: Steps[Any]) -> Any:
        """Runs the steps to their end."""
        try:
            step = next(steps)
            while True:
                step = steps.send(self._respond(step) if isinstance(step, Post) else self._wait(step))
        except StopIteration as ended:
            return ended.value

    def _respond(self, post: Post) -> Response:
        self.posts.append(post)
        self.now += 0.5
        status, value = self._answers.pop(0)
        parts = value if isinstance(value, list) else [value]
        body = b"\n".join(each if isinstance(each, bytes) else json.dumps(each).encode() for each in parts)
        return Response(status, body, self.now, self._after)

    def _wait(self, pause: Pause) -> bool:
        self.pauses.append(pause.seconds)
        self.now += pause.seconds
        return self._goes_on


def message(subject: str, number: int = 0) -> Message:
    """A message."""
    return Message(subject=subject, url="http://t/", content=number, id=f"{subject}{number}")


def test_a_message_is_repeated_with_the_same_bytes_until_it_is_accepted() -> None:
    """After no response, 503 and 429, with pauses that double, up to the longest."""
    driver = Driver([(0, b"cut"), (503, {"title": "t"}), (429, {}), (503, {}), (202, ACCEPTED)])
    assert driver.run(sending(b"{}", {"Idempotency-Key": "k"}, Policy(60, POLICY.backoff), 0.0, middle)) == ACCEPTED
    assert {(post.path, post.body, post.headers["Idempotency-Key"]) for post in driver.posts} == {(ONE, b"{}", "k")}
    assert driver.pauses == [0.75, 1.5, 3.0, 3.0]  # equal jitter: three quarters of 1, 2, 4, 4


@pytest.mark.parametrize(("after", "pause"), [(2.0, 2.0), (100.0, 4.0), (0.0, 0.75), (None, 0.75)])
def test_retry_after_delays_a_repeat_up_to_the_longest_pause(after: float | None, pause: float) -> None:
    """A shorter one does not hasten it."""
    driver = Driver([(503, {}), (202, ACCEPTED)], after)
    driver.run(sending(b"{}", {}, POLICY, 0.0, middle))
    assert driver.pauses == [pause]


def test_a_message_that_is_not_accepted_in_time_is_given_up_with_the_last_reason() -> None:
    """Before a pause that would end after the deadline."""
    driver = Driver([(503, {"detail": f"full {number}"}) for number in range(9)])
    with pytest.raises(NotAcceptedError, match="not accepted within 10 s: full"):
        driver.run(sending(b"{}", {}, POLICY, 0.0, middle))
    assert driver.now <= 10.0
    assert len(driver.posts) == 4


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415])
def test_a_refused_message_is_not_repeated(status: int) -> None:
    """The reason names the field."""
    driver = Driver([(status, {"errors": [{"field": "body.url", "message": "is missing"}]})])
    with pytest.raises(RefusedError, match=f"refused with status {status}: body.url: is missing") as caught:
        driver.run(sending(b"{}", {}, POLICY, 0.0, middle))
    assert (caught.value.status, len(driver.posts)) == (status, 1)


def test_a_client_that_does_not_go_on_gets_the_reason() -> None:
    """One message by an error; lines are left."""
    with pytest.raises(NotAcceptedError, match="stop"):
        Driver([(503, {"detail": "stop"})], goes_on=False).run(sending(b"{}", {}, POLICY, 0.0, middle))
    lines = [message("a"), message("b")]
    settled = Driver([(503, {"detail": "stop"})], goes_on=False).run(sending_lines(lines, POLICY, 0.0, middle))
    assert (settled.accepted, settled.left, settled.reason) == ((), tuple(lines), "stop")


def test_only_lines_that_are_left_are_sent_again() -> None:
    """A refused line is skipped, and what ingest held back behind it is sent at once."""
    lines = [message("a"), message("a", 1), message("b"), message("c")]
    wrong = {"status": 400, "detail": "wrong"}
    held, full, done = {"status": 503, "detail": "Not sent"}, {"status": 503, "detail": "full"}, {"status": 202}
    driver = Driver([(200, [wrong, held, done, full]), (200, [done, full]), (200, [done])])
    settled = driver.run(sending_lines(lines, POLICY, 0.0, middle))
    assert [line.id for line, _ in settled.accepted] == ["a1", "b0", "c0"]  # as they were given
    assert [(line.id, status, reason) for line, status, reason in settled.refused] == [("a0", 400, "wrong")]
    assert settled.left == ()
    assert [post.path for post in driver.posts] == [BATCH] * 3
    assert driver.posts[1].body == lines[1].data + b"\n" + lines[3].data + b"\n"
    assert len(driver.pauses) == 1


def test_the_time_of_a_batch_begins_anew_with_each_progress() -> None:
    """A long batch in a slow hour ends."""
    lines = [message(f"s{number}") for number in range(8)]
    done, full = {"status": 202}, {"status": 503, "detail": "full"}
    answers = [(200, [done, *[full] * (7 - number)]) for number in range(8)]
    driver = Driver(answers, 4.0)
    settled = driver.run(sending_lines(lines, POLICY, 0.0, middle))
    assert len(settled.accepted) == 8
    assert driver.now > 3 * POLICY.seconds


def test_results_of_another_number_of_lines_are_an_error() -> None:
    """A proxy has changed the response: what was accepted is unknown."""
    with pytest.raises(SendError, match="1 results for 2 lines"):
        Driver([(200, [{"status": 202}])]).run(sending_lines([message("a"), message("b")], POLICY, 0.0, middle))


def test_a_refused_request_of_lines_is_an_error() -> None:
    """None of them was accepted."""
    with pytest.raises(RefusedError, match="403"):
        Driver([(403, {"title": "Forbidden"})]).run(sending_lines([message("a")], POLICY, 0.0, middle))


@pytest.mark.parametrize("seconds", [-1, 241, 3600])
def test_a_policy_that_is_longer_than_ingest_knows_an_id_is_refused(seconds: float) -> None:
    """A later repeat would be another message."""
    with pytest.raises(ValueError, match="ingest knows an id for five minutes"):
        Policy(seconds)


@pytest.mark.parametrize(("header", "seconds"), [("3", 3.0), (None, None), ("", None), ("-1", None), ("soon", None)])
def test_retry_after_is_a_number_of_seconds(header: str | None, seconds: float | None) -> None:
    """Ingest writes no dates."""
    assert retry_after(header) == seconds


@pytest.mark.parametrize("body", [b"<html>", b"[]", b'"accepted"', b""])
def test_a_response_of_another_server_is_an_error(body: bytes) -> None:
    """Not an acceptance, and no error of a JSON parser."""
    with pytest.raises(SendError, match="it is unknown what was accepted"):
        Driver([(202, body)]).run(sending(b"{}", {}, POLICY, 0.0, middle))


@pytest.mark.parametrize("body", [b"<html>", b"[]"])
def test_a_response_of_another_server_to_lines_is_an_error(body: bytes) -> None:
    """The same for a batch."""
    with pytest.raises(SendError, match="it is unknown what was accepted"):
        Driver([(200, body)]).run(sending_lines([message("a")], POLICY, 0.0, middle))


def test_a_result_without_an_identity_is_an_error() -> None:
    """It names the field."""
    with pytest.raises(SendError, match="no 'messageId'"):
        Accepted.parse({"id": "i", "status": 202})
