"""Password files of the console, with hashes that take little time."""

from argon2 import PasswordHasher
from argon2.profiles import CHEAPEST

_HASHER = PasswordHasher(CHEAPEST.time_cost, CHEAPEST.memory_cost, CHEAPEST.parallelism)


def user_line(name: str, password: str) -> str:
    """The line of a user, without its end. Real ones come from `chaski hash-password` and take 64 MiB and 0.2 s."""
    return f"{name}:{_HASHER.hash(password)}"


def users_text(**passwords: str) -> str:
    """A file with these users."""
    return "".join(f"{user_line(name, password)}\n" for name, password in passwords.items())
