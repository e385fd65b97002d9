"""What a browser keeps of whoever has signed in."""

import pytest

from chaski_console.auth.sessions import Sessions

NOW = 1_800_000_000_000


@pytest.fixture
def marks() -> dict[str, bytes]:
    """Marks by name."""
    return {"ada": b"1", "bob": b"1", "Ünal . =": b"1"}


@pytest.fixture
def sessions(marks: dict[str, bytes]) -> Sessions:
    """Of an hour."""
    return Sessions(marks.get, 3_600)


@pytest.mark.parametrize("name", ["ada", "Ünal . ="])
def test_a_session_is_read_until_it_ends(sessions: Sessions, name: str) -> None:
    """Not a millisecond longer."""
    value = sessions.open(name, NOW)
    session = sessions.read(value, NOW + 3_599_999)
    assert session is not None
    assert session.user == name
    assert sessions.read(value, NOW + 3_600_000) is None


def test_nothing_of_it_can_be_changed(sessions: Sessions) -> None:
    """Not one character, and no part of another's."""
    ada, bob = sessions.open("ada", NOW), sessions.open("bob", NOW)
    for at, char in enumerate(ada):
        changed = ada[:at] + ("0" if char != "0" else "1") + ada[at + 1 :]
        assert sessions.read(changed, NOW) is None, changed
    mixed = ada.split(".")
    mixed[2] = bob.split(".")[2]
    assert sessions.read(".".join(mixed), NOW) is None
    for value in ("", "...", "a.b.c.d", "ü.1.YWRh.x", f"{ada}.", ada * 20, "a.b.\ud800.d"):
        assert sessions.read(value, NOW) is None


def test_it_ends_with_the_password_the_name_and_the_process(sessions: Sessions, marks: dict[str, bytes]) -> None:
    """Whoever changes a password wants nobody in who had the old one."""
    value = sessions.open("ada", NOW)
    assert Sessions(marks.get, 3_600).read(value, NOW) is None
    marks["ada"] = b"2"
    assert sessions.read(value, NOW) is None
    del marks["ada"]
    assert sessions.read(value, NOW) is None
    with pytest.raises(LookupError):
        sessions.open("ada", NOW)


def test_one_that_was_ended_stays_so(sessions: Sessions) -> None:
    """Also where its value was copied; another of the same name goes on."""
    value, other = sessions.open("ada", NOW), sessions.open("ada", NOW)
    session = sessions.read(value, NOW)
    assert session is not None
    sessions.end(session, NOW)
    assert sessions.read(value, NOW) is None
    assert sessions.read(other, NOW) is not None


def test_what_is_remembered_of_ended_ones_is_bounded(sessions: Sessions) -> None:
    """Those that ended by themselves are forgotten, and beyond ten thousand everybody signs in anew."""
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
