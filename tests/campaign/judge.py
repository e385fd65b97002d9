"""The judge: pure functions from recordings to violations. It knows only the promises of the product."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence

from campaign.evidence import DeadLetter, Evidence, Request, Sending, retries_of
from campaign.order import given_up_at, reordered, repeats_out_of_order, settled_at
from campaign.violations import Violation, timeline

DEDUPLICATION_SECONDS = 290.0  # slightly below SQS's five minutes
REPEATED_PER_LANE = 10  # promise 3
STALL = "stall"  # prefix of a disturbance by the machine, not by a fault of the campaign
_AFTER_ATTEMPTS = {"exhausted", "no-ladder"}  # reasons of dead letters after a failed attempt
_SLACK_SECONDS = 3.0  # of stored times: milliseconds are truncated, clocks move within two seconds
_STORED_WITHIN = 15.0
_BEFORE_SECONDS = (
    60.0  # after a crash a message may be in two queues: it climbs its ladder in one and waits in the other
)


def judge(evidence: Evidence) -> list[Violation]:
    """All violations, by kind, the gravest first."""
    return [
        *lost(evidence), *reordered(evidence), *repeats_out_of_order(evidence), *wrongly_charged(evidence),
        *duplicated(evidence)[0], *not_found(evidence), *answers(evidence), *ledger(evidence),
        *(Violation("ended", name, text) for name, _, text in (each.partition(": ") for each in evidence.exits)),
    ]  # fmt: skip


def lost(evidence: Evidence) -> Iterator[Violation]:
    """Accepted messages that were neither delivered nor listed as dead letters."""
    for sending in evidence.sendings:
        token = sending.message.token
        requests = evidence.by_token.get(token, ())
        delivered = [each for each in requests if each.delivered]
        groups = {each.message_id for each in delivered} if _has_identity(sending) else delivered
        ends = len(groups) + len(evidence.dead_letters_of.get(token, ()))
        if ends >= sending.copies:
            continue
        if sending.copies == 2 and ends:
            text = "two producers sent this content with one id, and one of the two messages has no end"
        elif not requests:
            text = "accepted, and never attempted"
        elif settled_at(evidence, sending) is not None:
            text = "its ladder is exhausted, and its dead letter is not listed"
        else:
            text = "attempted, and has no end"
        yield Violation("lost", token, text, timeline(evidence, token))


def wrongly_charged(evidence: Evidence) -> Iterator[Violation]:
    """Attempt numbers and dead letters that the target's failures do not explain; the first of each message."""
    for token, text in _charge_faults(evidence):
        if not _stalled(evidence, token):
            yield Violation("wrongly charged", token, text, timeline(evidence, token))
    for dead_letter in evidence.dead_letters:
        if dead_letter.token not in evidence.sending_of:
            yield Violation(
                "wrongly charged", dead_letter.token, f"a dead letter of a message that was not sent: {dead_letter.id}"
            )


def not_judged(evidence: Evidence) -> int:
    """Number of wrongly charged messages that are not reported because the machine stalled, so that the attempt may have failed unseen."""
    return sum(_stalled(evidence, token) for token, _ in _charge_faults(evidence))


def _charge_faults(evidence: Evidence) -> Iterator[tuple[str, str]]:
    for token, sending in evidence.sending_of.items():
        requests = evidence.by_token.get(token, ())
        text = _charge_fault(evidence, sending, requests)
        if text:
            yield token, text


def _charge_fault(evidence: Evidence, sending: Sending, requests: Sequence[Request]) -> str:
    failures = 0
    for each in requests:
        if each.attempt > 1 + failures:
            return f"arrived as attempt {each.attempt} after {failures} failures of the target"
        failures += each.failed
    seen = {each.attempt for each in requests}
    failed = {each.attempt for each in requests if each.failed}
    first_failure = next((each for each in requests if each.failed), None)
    declared = 1 + (retries_of(sending, first_failure.error_class) if first_failure else 0)
    if first_failure is not None and max(seen) > declared:
        return f"attempt {max(seen)}, where its ladder ({first_failure.error_class}) declares {declared}"
    if missing := set(range(1, max(seen, default=0) + 1)) - seen:
        return f"attempts {sorted(missing)} were skipped"
    for dead_letter in evidence.dead_letters_of.get(sending.message.token, ()):
        if len(failed) < declared:
            return f"a dead letter ({dead_letter.reason}) after {len(failed)} failures, where its ladder declares {declared}"
    return ""


def duplicated(evidence: Evidence) -> tuple[list[Violation], Counter[str]]:
    """Repeated deliveries: those without a cause, and the number explained by each cause."""
    violations: list[Violation] = []
    causes: Counter[str] = Counter()
    per_lane: Counter[tuple[str, int]] = Counter()
    for sending in evidence.sendings:
        token = sending.message.token
        delivered = [each for each in evidence.by_token.get(token, ()) if each.delivered]
        surplus = len(delivered) - max(1, sending.copies)
        pairs = list(itertools.pairwise(delivered))
        for before, after in pairs[len(pairs) - surplus :] if surplus > 0 else []:
            cause = _cause(evidence, sending, before, after)
            causes[cause or "none"] += 1
            if not cause:
                text = f"delivered again after {after.at - before.at:.2f} s without a cause"
                violations.append(Violation("duplicated", token, text, timeline(evidence, token)))
            elif (fault := _only_kill(evidence, before, after)) is not None:
                per_lane[sending.message.subject, fault] += 1
        if text := _ends_fault(evidence, sending, delivered):
            violations.append(Violation("duplicated", token, text, timeline(evidence, token)))
    for (subject, fault), number in per_lane.items():
        if number > REPEATED_PER_LANE:
            name = evidence.disturbances[fault].name
            violations.append(Violation("duplicated", subject, f"{number} messages of one lane again after: {name}"))
    return violations, causes


def _ends_fault(evidence: Evidence, sending: Sending, delivered: Sequence[Request]) -> str:
    """More dead letters than messages, or both ends of one message without a cause."""
    dead_letters = evidence.dead_letters_of.get(sending.message.token, ())
    if len(dead_letters) > max(1, sending.copies) + sending.unclear:
        return f"{len(dead_letters)} dead letters of one message"
    made = given_up_at(evidence, sending) if dead_letters and delivered else None
    if made is None or sending.copies > 1 or sending.unclear:
        return ""
    between = sorted((made, delivered[0].at))
    return "" if evidence.causes(between[0] - _BEFORE_SECONDS, between[1]) else "delivered, and a dead letter as well"


def _cause(evidence: Evidence, sending: Sending, before: Request, after: Request) -> str:
    begin = before.at
    if before.attempt != after.attempt:
        # Two copies, one of them on a later rung: they were created at the handover after the first failure of the lower
        # number, or, if that attempt did not fail, after the last failure.
        failures = [each for each in evidence.by_token[sending.message.token] if each.failed and each.at < before.at]
        first = next((each for each in failures if each.attempt == min(before.attempt, after.attempt)), None)
        begin = (first or failures[-1] if failures else before).at
    if before.message_id == after.message_id and (names := evidence.causes(begin, after.at)):
        return names[0].partition(" of ")[0]
    named = sending.message.label is not None or sending.message.idempotency_key is not None
    if sending.unclear and not named:
        return "repeat of the producer after an unclear response"
    if (sending.unclear or sending.again) and _window_over(evidence, sending):
        return "repeat of the producer after the deduplication window"
    return ""


def _window_over(evidence: Evidence, sending: Sending) -> bool:
    """Whether a repeat may be a separate message: five minutes passed, or the clock that counts them was moved."""
    last = sending.again or sending.accepted or evidence.ended
    moved = any(each.offset for each in evidence.disturbances if each.overlaps(sending.began, last))
    return moved or last - sending.began > DEDUPLICATION_SECONDS


def _only_kill(evidence: Evidence, before: Request, after: Request) -> int | None:
    found = [index for index, each in enumerate(evidence.disturbances) if each.overlaps(before.at, after.at)]
    return found[0] if len(found) == 1 and evidence.disturbances[found[0]].name.startswith("kill") else None


def not_found(evidence: Evidence) -> Iterator[Violation]:
    """Dead letters with a wrong stored time, or that a command did not show."""
    for sending in evidence.sendings:
        token = sending.message.token
        for dead_letter in evidence.dead_letters_of.get(token, ()):
            text = _time_fault(evidence, sending, dead_letter)
            if text:
                yield Violation("not found", token, text, timeline(evidence, token))
    for token, since in evidence.not_listed.items():
        yield Violation("not found", token, f"not listed by --since {since}", timeline(evidence, token))
    for token in evidence.not_traced:
        yield Violation("not found", token, "trace does not find its id", timeline(evidence, token))


def _time_fault(evidence: Evidence, sending: Sending, dead_letter: DeadLetter) -> str:
    if sending.message.token not in evidence.by_token:
        return ""
    made = given_up_at(evidence, sending)
    if made is None:
        return ""
    low, high = possible_times(evidence, made)
    stored = dead_letter.dead_lettered_at
    if stored < low - _SLACK_SECONDS:
        return f"its stored time is {low - stored:.0f} s too early"
    if stored > high + _SLACK_SECONDS:
        return f"its stored time is {stored - high:.0f} s too late"
    return ""


def possible_times(evidence: Evidence, made: float) -> tuple[float, float]:
    """The earliest and the latest time of the relevant wall clock at which a dead letter can have been stored.

    Args:
        evidence: the recordings of the campaign.
        made: monotonic time of the failure that caused the dead letter.

    Returns:
        Epoch seconds. It is stored soon after the failure unless a fault delayed this; the latest time is the end of the campaign.
    """
    until = made + _STORED_WITHIN
    for fault in sorted(evidence.disturbances, key=lambda each: each.begin):
        if not fault.offset and fault.overlaps(made, until):
            until = max(until, fault.end + _STORED_WITHIN)
    early = evidence.wall + made + min(_offsets(evidence, made, until))
    late = evidence.wall + evidence.ended + max(_offsets(evidence, made, evidence.ended))
    return early, late


def _offsets(evidence: Evidence, begin: float, end: float) -> set[float]:
    """Offsets of the relevant clock in an interval; a move takes up to two seconds."""
    found: set[float] = set()
    whole = False
    for each in evidence.disturbances:
        if each.offset and each.overlaps(begin - 2, end):
            found.add(each.offset)
            whole = whole or (each.begin + 2 <= begin and end <= each.end)
    return found if whole else found | {0.0}


def answers(evidence: Evidence) -> Iterator[Violation]:
    """Repeats that were answered with another id; identities at the target or in dead letters that were in no 202."""
    for sending in evidence.sendings:
        token, identities = sending.message.token, {message_id for _, message_id in sending.answers}
        if sending.again is not None and not _window_over(evidence, sending) and len(set(sending.answers)) > 1:
            text = f"a repeat was answered as another message: {sending.answers}"
            yield Violation("answer", token, text, timeline(evidence, token))
        elif _has_identity(sending) and not sending.unclear and sending.copies:
            met = {each.message_id for each in evidence.by_token.get(token, ())}
            met |= {each.webhook_id for each in evidence.by_token.get(token, ()) if each.webhook_id}
            met |= {each.message_id for each in evidence.dead_letters_of.get(token, ())}
            if not met <= identities:
                text = f"its identity is {sorted(identities)}, but {sorted(met - identities)} was used"
                yield Violation("answer", token, text, timeline(evidence, token))


def ledger(evidence: Evidence) -> Iterator[Violation]:
    """Faults of `chaski ledger` where it is exact."""
    report = evidence.ledger
    if report is None:
        return
    least = sum(each.copies for each in evidence.sendings)
    most = least + sum(each.unclear + (each.again is not None) for each in evidence.sendings)
    if not least <= report["accepted"] <= most:
        yield Violation("ledger", "accepted", f"reports {report['accepted']}, but {least} to {most} were accepted")
    for name in ("pending", "unaccounted"):
        if report[name]:
            yield Violation("ledger", name, f"reports {report[name]} at the end: {dict(report)}")


def _has_identity(sending: Sending) -> bool:
    return any(message_id for _, message_id in sending.answers)


def _stalled(evidence: Evidence, token: str) -> bool:
    """Whether an attempt that the target did not see may be explained by a stall of the machine."""
    sending, requests = evidence.sending_of[token], evidence.by_token.get(token, ())
    dead_letters = evidence.dead_letters_of.get(token, ())
    if any(each.reason not in _AFTER_ATTEMPTS for each in dead_letters):
        return False
    last = evidence.ended if dead_letters or not requests else requests[-1].done
    return any(name.startswith(STALL) for name in evidence.causes(sending.accepted or sending.began, last))
