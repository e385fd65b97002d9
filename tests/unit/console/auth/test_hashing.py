"""Hashes of passwords."""

import time

import pytest
from argon2 import PasswordHasher

from chaski_console.auth import hashing
from support.console_users import user_line

ADA, BOB = "correct horse battery", "another password"
HASH = user_line("ada", ADA).partition(":")[2]
SALT_AND_DIGEST = "$YWFhYWFhYWFhYWFhYWFhYQ$YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE"
INSTEAD = hashing.stand_in([HASH])


def test_a_hash_is_made_as_rfc_9106_recommends() -> None:
    """argon2id, 64 MiB, 3 passes, 4 lanes, with a salt of its own; only its password matches."""
    made = hashing.hash_password(ADA)
    assert made.startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    hashing.check_hash(made)
    assert hashing.verify(made, ADA, INSTEAD)
    assert not hashing.verify(made, BOB, INSTEAD)
    assert hashing.hash_password(ADA) != made


@pytest.mark.parametrize("password", ["", "x" * 11, "x" * 1_025])
def test_a_password_has_12_to_1024_characters(password: str) -> None:
    """Shorter ones can be guessed; longer ones only cost time."""
    with pytest.raises(ValueError, match="12 to 1024 characters"):
        hashing.hash_password(password)


@pytest.mark.parametrize("instead", [INSTEAD, hashing.stand_in([])], ids=["cheap", "full"])
@pytest.mark.parametrize(
    ("entry", "password", "expected"),
    [
        (HASH, ADA, True),
        (HASH, BOB, False),
        (HASH, HASH, False),
        (HASH, "", False),
        (HASH, "\ud800", False),
        (ADA, ADA, True),
        (ADA, BOB, False),
        (None, ADA, False),
        (None, "", False),
    ],
    ids=["own", "other", "hash", "empty", "surrogate", "plain-own", "plain-other", "no-user", "no-user-empty"],
)
def test_only_the_password_of_the_user_matches(entry: str | None, password: str, expected: bool, instead: str) -> None:
    """Whether the file holds its hash, or itself as in an earlier release; an unknown user has none."""
    assert hashing.verify(entry, password, instead) is expected


def test_verifying_takes_as_long_without_a_user() -> None:
    """And with a plain password: one hash in each case, or the time would reveal which names exist."""
    hashed = hashing.hash_password(ADA)
    instead = hashing.stand_in([hashed])

    def seconds(entry: str | None) -> float:
        begin = time.process_time()
        hashing.verify(entry, BOB, instead)
        return time.process_time() - begin

    known = min(seconds(hashed) for _ in range(3))
    assert min(seconds(None) for _ in range(3)) > known / 3
    assert min(seconds(ADA) for _ in range(3)) > known / 3


def test_a_stand_in_costs_as_much_as_the_hashes_of_the_file() -> None:
    """Those of another program may have other parameters; without any, it is as expensive as ours."""
    other = PasswordHasher(time_cost=2, memory_cost=1_024, parallelism=2).hash(ADA)
    assert hashing.stand_in(["a plain password", other]).startswith("$argon2id$v=19$m=1024,t=2,p=2$")
    assert hashing.stand_in([]).startswith("$argon2id$v=19$m=65536,t=3,p=4$")
    hashing.check_hash(hashing.stand_in([]))
    assert hashing.stand_in([]) != hashing.stand_in([])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("$argon2", "not one of argon2id"),
        (f"$argon2i$v=19$m=64,t=1,p=1{SALT_AND_DIGEST}", "not one of argon2id"),
        (f"$argon2id$v=16$m=64,t=1,p=1{SALT_AND_DIGEST}", "not one of argon2id"),
        ("$argon2id$v=19$m=64,t=1,p=1$YWFhYWFhYWFhYWFhYWFhYQ$YWFh", "not one of argon2id"),
        (f"{HASH} ", "not one of argon2id"),
        (f"$argon2id$v=19$m=8,t=1,p=2{SALT_AND_DIGEST}", "not one of argon2id"),
        (f"$argon2id$v=19$m=64,t=0,p=1{SALT_AND_DIGEST}", "not one of argon2id"),
        (f"$argon2id$v=19$m=2097152,t=1,p=4{SALT_AND_DIGEST}", "more than 64 MiB, 10 passes or 16 lanes"),
        (f"$argon2id$v=19$m=64,t=11,p=1{SALT_AND_DIGEST}", "more than 64 MiB, 10 passes or 16 lanes"),
        (f"$argon2id$v=19$m=1024,t=1,p=17{SALT_AND_DIGEST}", "more than 64 MiB, 10 passes or 16 lanes"),
    ],
    ids=[
        "cut",
        "argon2i",
        "version",
        "digest",
        "space",
        "memory",
        "passes",
        "much-memory",
        "many-passes",
        "many-lanes",
    ],
)
def test_a_hash_that_is_invalid_or_too_expensive_is_rejected(entry: str, message: str) -> None:
    """One login with it could take all memory of the Pod."""
    with pytest.raises(ValueError, match=message) as caught:
        hashing.check_hash(entry)
    assert "YWFh" not in str(caught.value)
