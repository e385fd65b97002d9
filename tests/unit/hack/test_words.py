"""hack/words.py: which words are refused, and where."""

from pathlib import Path

import pytest

from hack import words


def found(path: Path) -> list[tuple[int, str]]:
    """Line and word of each finding in a file."""
    return [(line, word) for _, line, word, _ in words.in_file(path)]


def product_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, root: str = "worker"
) -> list[tuple[int, str]]:
    """Findings of a module of a root."""
    monkeypatch.chdir(tmp_path)
    Path(root).mkdir()
    Path(root, "module.py").write_text(text, encoding="utf-8")
    return found(Path(root, "module.py"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("def tell(x): ...", [(1, "tell")], id="function"),
        pytest.param("class DoorKeeper: ...", [(1, "DoorKeeper")], id="class"),
        pytest.param("def f(*, told_at): ...", [(1, "told_at")], id="parameter"),
        pytest.param("LAST_LOOK = 1", [(1, "LAST_LOOK")], id="constant"),
        pytest.param("self.news = 1", [(1, "news")], id="attribute"),
        pytest.param("x = 1  # nobody waits", [(1, "nobody")], id="comment"),
        pytest.param('"""First.\n\nSo many bytes.\n"""', [(3, "So many")], id="docstring, in its line"),
        pytest.param('raise ValueError("that is no integer")', [(1, "is no")], id="message"),
        pytest.param('raise ValueError(f"{x} is no integer")', [(1, "is no")], id="part of an f-string"),
        pytest.param("x.tell()", [], id="the use of a name that others gave"),
        pytest.param("bearer = roommate = doorbell = 1", [], id="longer words"),
        pytest.param("def look_up(x): ...", [], id="look_up as a name"),
        pytest.param("x = 1  # look up, looked it up, looking that up", [], id="look up as a verb"),
        pytest.param("x = 1  # is no longer, is no more", [], id="is no longer"),
        pytest.param("x = 1  # there is no limit", [], id="there is no"),
        pytest.param('x = "queue-away"', [], id="code with a hyphen"),
        pytest.param("room = 1  # words: allow", [], id="allowed line"),
    ],
)
def test_a_word_is_found_in_names_comments_docstrings_and_messages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: list[tuple[int, str]]
) -> None:
    """Of a name the definition is reported, not each use."""
    assert product_module(tmp_path, monkeypatch, text) == expected


def test_strings_of_tests_are_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test may send any word in a message; its docstrings are checked."""
    text = '"""Tells."""\n\nx = "nobody"\n'
    assert product_module(tmp_path, monkeypatch, text, "tests") == [(1, "Tells")]


@pytest.mark.parametrize("name", ["a.md", "a.yaml", "a.json", "a.tpl", "a.go", "script", "Dockerfile.worker"])
def test_documents_and_scripts_are_checked(tmp_path: Path, name: str) -> None:
    """Whatever their suffix."""
    (tmp_path / name).write_text("one\nit looks away\n", encoding="utf-8")
    assert words.main([str(tmp_path)]) == 1
    assert found(tmp_path / name) == [(2, "away"), (2, "looks")]


def test_a_word_is_reported_once_a_line(tmp_path: Path) -> None:
    """With what to write instead."""
    (tmp_path / "a.md").write_text("told and told\n", encoding="utf-8")
    assert words.in_file(tmp_path / "a.md") == [(tmp_path / "a.md", 1, "told", words.INSTEAD["tell"])]


def test_the_command_prints_places_and_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line for each finding, or with `--count` one for each top folder."""
    monkeypatch.chdir(tmp_path)
    Path("docs").mkdir()
    Path("docs/a.md").write_text("the house\n", encoding="utf-8")
    assert words.main(["docs"]) == 1
    assert "docs/a.md:1: 'house'" in capsys.readouterr().out
    assert words.main(["--count", "docs"]) == 1
    assert capsys.readouterr().out.split()[:2] == ["1", "docs"]


def test_the_command_succeeds_where_nothing_is_found(tmp_path: Path) -> None:
    """Files that are not text are passed over."""
    (tmp_path / "a.md").write_text("plain\n", encoding="utf-8")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    assert words.main([str(tmp_path)]) == 0
