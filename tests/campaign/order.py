"""Checks the order of messages (promise 3). Pure."""

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence

from campaign.evidence import Evidence, Request, Sending, retries_of
from campaign.violations import Violation, timeline


def reordered(evidence: Evidence) -> Iterator[Violation]:
    """Messages that arrived before one that they had to wait for; the first pair of each message."""
    for sendings in evidence.by_subject.values():
        seen = [each for each in sendings if _begun(evidence, each)]
        more = _before_settled if evidence.ordering == "Strict" else _rungs
        found = {each.token: each for each in (*more(evidence, seen), *_first_attempts(evidence, seen))}
        yield from found.values()


def _begun(evidence: Evidence, sending: Sending) -> bool:
    """Whether its first attempt arrived. A message that arrived only as a later attempt is judged by its charges, not its order."""
    requests = evidence.by_token.get(sending.message.token, ())
    return bool(requests) and requests[0].attempt == 1


def _first_attempts(evidence: Evidence, sendings: Sequence[Sending]) -> Iterator[Violation]:
    latest: Sending | None = None
    for each in sendings:
        first = evidence.by_token[each.message.token][0].at
        if latest is not None and first < evidence.by_token[latest.message.token][0].at:
            yield _violation(evidence, each, latest, "was first attempted before")
        else:
            latest = each


def _before_settled(evidence: Evidence, sendings: Sequence[Sending]) -> Iterator[Violation]:
    """Strict: first attempts before the predecessor was settled."""
    for before, after in itertools.pairwise(sendings):
        end = settled_at(evidence, before)
        if end is not None and evidence.by_token[after.message.token][0].at < end:
            yield _violation(evidence, after, before, "was attempted before the end of")


def settled_at(evidence: Evidence, sending: Sending) -> float | None:
    """Time of the response that settled a message: its first 200, or the last failure of the ladder."""
    delivered = [each.done for each in evidence.by_token[sending.message.token] if each.delivered]
    return min(delivered) if delivered else given_up_at(evidence, sending)


def given_up_at(evidence: Evidence, sending: Sending) -> float | None:
    """Time at which the last attempt of a message's ladder failed, or None."""
    requests = evidence.by_token[sending.message.token]
    last = 1 + retries_of(sending, requests[0].error_class)
    failures = [each.done for each in requests if each.attempt >= last and not each.delivered]
    return min(failures, default=None)


def _rungs(evidence: Evidence, sendings: Sequence[Sending]) -> Iterator[Violation]:
    """Relaxed: retries out of the order of acceptance, among messages that failed with one class."""
    latest: dict[tuple[str, int], tuple[float, Sending]] = {}
    for each in sendings:
        requests = evidence.by_token[each.message.token]
        firsts = first_arrivals(requests)
        if not requests[0].failed:
            continue
        for attempt, request in firsts.items():
            if attempt == 1:
                continue
            key = requests[0].error_class, attempt
            before = latest.get(key)
            if before is not None and request.at < before[0]:
                yield _violation(evidence, each, before[1], f"had attempt {attempt} before that of")
                break
            latest[key] = (request.at, each)


def repeats_out_of_order(evidence: Evidence) -> Iterator[Violation]:
    """Messages that were repeated after one crash in another order than before."""
    for sendings in evidence.by_subject.values():
        numbers: dict[int, list[tuple[float, Sending]]] = defaultdict(list)
        for each in sendings:
            delivered = [request for request in evidence.by_token.get(each.message.token, ()) if request.delivered]
            if each.copies != 1 or each.unclear or len(delivered) != 2 or delivered[1].attempt != 1:
                continue
            hit = [
                index
                for index, fault in enumerate(evidence.disturbances)
                if fault.overlaps(delivered[0].at, delivered[1].at)
            ]
            if len(hit) == 1:
                numbers[hit[0]].append((delivered[1].at, each))
        for repeated in numbers.values():
            for (before_at, before), (after_at, after) in itertools.pairwise(repeated):
                if after_at < before_at:
                    yield _violation(evidence, after, before, "was repeated before")


def first_arrivals(requests: Sequence[Request]) -> dict[int, Request]:
    """The first request for each attempt number."""
    found: dict[int, Request] = {}
    for each in requests:
        found.setdefault(each.attempt, each)
    return found


def _violation(evidence: Evidence, after: Sending, before: Sending, text: str) -> Violation:
    lines = (*timeline(evidence, before.message.token), *timeline(evidence, after.message.token))
    return Violation("reordered", after.message.token, f"{text} {before.message.token}", lines)
