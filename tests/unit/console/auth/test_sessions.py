"""Session values."""

import base64

import pytest

from chaski_console.auth.sessions import Sessions

NOW = 1_800_000_000_000


@pytest.fixture
def fingerprints() -> dict[str, str]:
    """Of passwords, by user."""
    return {"ada": "1", "bob": "1", "Ünal . =": "1", "\U0001f999" * 128: "1"}


@pytest.fixture
def sessions(fingerprints: dict[str, str]) -> Sessions:
    """With a lifetime of one hour."""
    return Sessions(fingerprints.get, 3_600)


@pytest.mark.parametrize("name", ["ada", "Ünal . =", "\U0001f999" * 128], ids=["short", "unusual", "long"])
def test_a_session_is_valid_until_it_expires(sessions: Sessions, name: str) -> None:
    """To the millisecond."""
    value = sessions.open(name, NOW)
    session = sessions.read(value, NOW + 3_599_999)
    assert session is not None
    assert session.user == name
    assert sessions.read(value, NOW + 3_600_000) is None


def test_changed_values_are_invalid(sessions: Sessions) -> None:
    """Any changed character, and parts of another session."""
    ada, bob = sessions.open("ada", NOW), sessions.open("bob", NOW)
    for at, char in enumerate(ada):
        changed = ada[:at] + ("0" if char != "0" else "1") + ada[at + 1 :]
        assert sessions.read(changed, NOW) is None, changed
    mixed = f"{bob.rpartition('.')[0]}.{ada.rpartition('.')[2]}"
    assert sessions.read(mixed, NOW) is None
    for value in ("", "...", "a.b.c.d", "ü.1.YWRh.x", f"{ada}.", ada * 20, "a.b.\ud800.d", f"{ada}\ud800"):
        assert sessions.read(value, NOW) is None


def test_a_cookie_of_an_earlier_release_is_invalid(sessions: Sessions) -> None:
    """Its user logs in again."""
    signature = "0f" * 32
    assert sessions.read(f"{'0a' * 16}.{NOW + 3_600_000}.YWRh.{signature}", NOW) is None


def test_a_value_names_no_password() -> None:
    """Nor its hash: the fingerprint is made with a key of the process."""
    sessions = Sessions({"ada": "fingerprint"}.get, 3_600, lambda: "id")
    payload = sessions.open("ada", NOW).partition(".")[0]
    assert base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)).decode() == (
        f'["id",{NOW + 3_600_000},"ada","fingerprint"]'
    )


def test_a_session_ends_with_the_password_the_user_and_the_process(
    sessions: Sessions, fingerprints: dict[str, str]
) -> None:
    """A changed password invalidates sessions that were opened with the old one."""
    value = sessions.open("ada", NOW)
    assert Sessions(fingerprints.get, 3_600).read(value, NOW) is None
    fingerprints["ada"] = "2"
    assert sessions.read(value, NOW) is None
    del fingerprints["ada"]
    assert sessions.read(value, NOW) is None
    with pytest.raises(LookupError):
        sessions.open("ada", NOW)


def test_an_ended_session_stays_ended(sessions: Sessions) -> None:
    """For every copy of its value; other sessions of the user stay valid."""
    value, other = sessions.open("ada", NOW), sessions.open("ada", NOW)
    session = sessions.read(value, NOW)
    assert session is not None
    sessions.end(session, NOW)
    assert sessions.read(value, NOW) is None
    assert sessions.read(other, NOW) is not None


def test_memory_of_ended_sessions_is_bounded(sessions: Sessions) -> None:
    """Expired sessions are forgotten; beyond ten thousand, all users have to log in again."""
    first = sessions.read(sessions.open("ada", NOW), NOW)
    assert first is not None
    sessions.end(first, NOW)
    later = NOW + 3_600_001
    kept = sessions.open("bob", later)
    for _ in range(10_000):
        session = sessions.read(sessions.open("ada", later), later)
        assert session is not None
        sessions.end(session, later)
        if len(sessions._ended) % 2_500 == 0:
            assert first.id not in sessions._ended
    assert sessions.read(kept, later) is not None
    session = sessions.read(sessions.open("ada", later), later)
    assert session is not None
    sessions.end(session, later)
    assert sessions.read(kept, later) is None
    assert sessions._ended == {}
