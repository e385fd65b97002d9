"""When a change of route files is used."""

from pathlib import Path

from chaski_cli.dev.reload import FileChanges, stamps_of

A, B, C = (1, 10, 100), (1, 11, 200), (1, 12, 300)


def test_a_change_is_used_once_it_is_settled() -> None:
    """An editor may write a file in several steps."""
    files = FileChanges([A])
    assert [files.observe([each]) for each in (A, B, C, C, C)] == [False, False, False, True, False]


def test_a_file_that_is_missing_for_a_moment_has_not_changed() -> None:
    """Some editors delete a file and write it again; the same content with another stamp is compared later."""
    files = FileChanges([A])
    assert not any(files.observe([each]) for each in (None, A, A))


def test_a_file_that_stays_missing_has_changed() -> None:
    """It is then reported as unreadable."""
    files = FileChanges([A, B])
    assert [files.observe([A, None]), files.observe([A, None])] == [False, True]


def test_each_write_has_another_stamp(tmp_path: Path) -> None:
    """Also where the size stays, and where a file is replaced as a whole."""
    file = tmp_path / "route.yaml"
    assert stamps_of([file]) == [None]
    stamps = []
    for text in ("one", "two"):
        file.write_text(text)
        stamps += stamps_of([file])
    (tmp_path / "new").write_text("two")
    (tmp_path / "new").replace(file)
    stamps += stamps_of([file])
    assert len({*stamps}) == 3
