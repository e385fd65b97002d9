"""argon2id hashes of passwords (RFC 9106)."""

import base64
import hmac
import re
import secrets
from collections.abc import Iterable

from argon2 import PasswordHasher, extract_parameters
from argon2.exceptions import InvalidHashError, VerificationError
from argon2.profiles import RFC_9106_LOW_MEMORY

MIN_PASSWORD_CHARACTERS = 12
MAX_PASSWORD_CHARACTERS = 1_024
# Of one verification, also with hashes of other programs: it is bounded, so that the memory of a Pod can be planned.
MAX_MEMORY_KIB = RFC_9106_LOW_MEMORY.memory_cost  # 64 MiB
MAX_PASSES = 10
MAX_LANES = 16
_HASHER = PasswordHasher.from_parameters(RFC_9106_LOW_MEMORY)  # 64 MiB, 3 passes, 4 lanes
_HASH = re.compile(
    r"(?P<parameters>\$argon2id\$v=19\$m=\d{1,9},t=\d{1,9},p=\d{1,9})\$[A-Za-z0-9+/]{11,86}\$[A-Za-z0-9+/]{22,86}"
)


def hash_password(password: str) -> str:
    """The hash of a password, with a random salt. Takes 64 MiB and 0.2 s of CPU time.

    Raises:
        ValueError: the password is too short or too long; the message is a sentence.
    """
    check_length(password)
    return _HASHER.hash(_encoded(password))


def check_length(password: str) -> None:
    """Checks the length of a password. Raises ValueError."""
    if not MIN_PASSWORD_CHARACTERS <= len(password) <= MAX_PASSWORD_CHARACTERS:
        limits = f"{MIN_PASSWORD_CHARACTERS} to {MAX_PASSWORD_CHARACTERS}"
        raise ValueError(f"a password must have {limits} characters")


def is_hash(entry: str) -> bool:
    """Whether an entry of a password file is meant as a hash, otherwise it is a password of a release before hashes."""
    return entry.startswith("$argon2")


def check_hash(entry: str) -> None:
    """Checks that a hash can be verified within the limits. Raises ValueError; the message does not quote the hash."""
    if _HASH.fullmatch(entry) is None:
        raise ValueError("the hash is not one of argon2id")
    cost = extract_parameters(entry)
    if cost.memory_cost > MAX_MEMORY_KIB or cost.time_cost > MAX_PASSES or cost.parallelism > MAX_LANES:
        limits = f"{MAX_MEMORY_KIB // 1024} MiB, {MAX_PASSES} passes or {MAX_LANES} lanes"
        raise ValueError(f"the hash takes more than {limits}")
    if cost.memory_cost < 8 * cost.parallelism or cost.time_cost < 1 or cost.parallelism < 1:
        raise ValueError("the hash is not one of argon2id")


def stand_in(entries: Iterable[str]) -> str:
    """A hash that no password has, to verify where there is none; as expensive as the first hash of a file."""
    first = next((_HASH.fullmatch(entry) for entry in entries if is_hash(entry)), None)
    cost = RFC_9106_LOW_MEMORY
    parameters = f"$argon2id$v=19$m={cost.memory_cost},t={cost.time_cost},p={cost.parallelism}"
    salt, digest = (base64.b64encode(secrets.token_bytes(size)).decode().rstrip("=") for size in (16, 32))
    return f"{first['parameters'] if first else parameters}${salt}${digest}"


def verify(entry: str | None, password: str, instead: str) -> bool:
    """Whether a password belongs to an entry of a password file.

    Takes the time and memory of one hash in every case, so that neither a missing user nor one with a plain password can
    be recognised by it. Blocks, so call it on a thread.

    Args:
        entry: a valid hash, or a plain password; None if the user does not exist.
        password: as entered.
        instead: what is verified if the entry is not a hash (`stand_in`).
    """
    secret = _encoded(password)
    hashed = entry if entry is not None and is_hash(entry) else None
    matches = _matches(hashed or instead, secret)
    if entry is None or hashed is not None:
        return matches and hashed is not None
    return hmac.compare_digest(_encoded(entry), secret)


def _matches(hashed: str, secret: bytes) -> bool:
    try:
        return _HASHER.verify(hashed, secret)
    except (InvalidHashError, VerificationError):
        return False


def _encoded(password: str) -> bytes:
    return password.encode("utf-8", "surrogatepass")  # a form may contain anything
