"""The repository: its folders, the wheel, the size of modules and functions, and what no file may contain."""

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from collections import Counter
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROOT_FOLDERS = (
    "aws",
    "cli",
    "client",
    "console",
    "core",
    "embedded",
    "ingest",
    "operator",
    "replay",
    "runtime",
    "worker",
)
PACKAGES = sorted(path for folder in ROOT_FOLDERS for path in (ROOT / folder).glob("chaski_*") if path.is_dir())
SOURCES = sorted(path for package in PACKAGES for path in package.rglob("*.py"))
MAX_MODULES = 9  # of a package, beside each other
MAX_FILE_LINES = 330
MAX_FUNCTION_LINES = 50
MAX_PARAMETERS = 6
# Put together, so that this file does not name them.
REGISTRIES = [
    ".".join(parts)
    for parts in (
        ("pypi", "org"),
        ("pypi", "python", "org"),
        ("pythonhosted", "org"),
        ("npmjs", "org"),
        ("npmjs", "com"),
        ("proxy", "golang", "org"),
        ("sum", "golang", "org"),
        ("repo", "maven", "apache", "org"),
        ("repo1", "maven", "org"),
        ("crates", "io"),
        ("rubygems", "org"),
    )
]
MACHINE_PATHS = ["/" + "work/"]


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Names of the files in the wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert built.returncode == 0, built.stderr
    (file,) = folder.glob("chaski_delivery-*.whl")
    return zipfile.ZipFile(file).namelist()


def own_files() -> list[Path]:
    """Every file of the repository, committed or not ignored."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=60, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: what belongs to the repository is not known")
    names = sorted(set(listed.stdout.decode().split("\0")) - {""})
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def functions(file: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, including inner functions and methods."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def imported_modules(file: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, with its packages: `a.b` of `from a import b`, even if b is not a module."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield from (node.module, *(f"{node.module}.{each.name}" for each in node.names))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """Names of a function's parameters without self and cls."""
    given = function.args
    names = [
        each.arg for each in (*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg) if each
    ]
    return [name for name in names if name not in ("self", "cls")]


def relative(file: Path) -> str:
    """The path relative to the repository."""
    return file.relative_to(ROOT).as_posix()


def test_no_top_folder_is_a_package() -> None:
    """An `__init__.py` in `operator/` would hide the interpreter's own module of that name."""
    assert [relative(file) for folder in ROOT_FOLDERS for file in (ROOT / folder).glob("__init__.py*")] == []


@pytest.mark.parametrize("way", [["-c", "import operator; operator.itemgetter"], ["-m", "pip", "--version"]], ids=str)
def test_the_interpreter_works_from_the_top_folder(way: list[str]) -> None:
    """With the top folder first on the path, as with `python -m`."""
    ran = subprocess.run([sys.executable, *way], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")


def test_no_folder_of_tests_is_a_package() -> None:
    """`tests/unit/operator` would be a package named operator."""
    assert [relative(file) for file in (ROOT / "tests").rglob("__init__.py")] == []


def test_every_package_is_marked_as_typed() -> None:
    """Otherwise type checkers of users ignore the annotations."""
    assert [relative(package) for package in PACKAGES if not (package / "py.typed").is_file()] == []


def test_the_wheel_holds_every_package_whole(wheel: list[str]) -> None:
    """A typo in hatchling's list of packages is not an error."""
    wanted = {file.relative_to(file.parents[len(file.relative_to(ROOT).parts) - 2]).as_posix() for file in SOURCES}
    wanted |= {f"{package.name}/py.typed" for package in PACKAGES}
    wanted |= {f"chaski_console/static/{name}" for name in ("console.css", "console.js", "icon.svg")}
    assert {"chaski_core/message/envelope.py", "chaski_core/route/model.py"} <= wanted
    assert sorted(wanted - set(wheel)) == []


def test_the_wheel_holds_the_crd_and_nothing_foreign(wheel: list[str]) -> None:
    """`chaski validate` reads the CRD from the package; tests and charts stay out of it."""
    assert {f"chaski_core/crds/chaski{kind}.yaml" for kind in ("routes", "policies", "replays")} <= set(wheel)
    tops = {name.split("/", 1)[0] for name in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == {package.name for package in PACKAGES}


@pytest.mark.parametrize("table", ["wheel", "dev-mode-dirs", "mypy", "ruff", "importlinter"])
def test_every_package_is_in_every_list_of_packages(table: str) -> None:
    """A root that is missing in one list of pyproject.toml is built, but not checked."""
    tool = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    folders, names = {path.parent.name for path in PACKAGES}, {path.name for path in PACKAGES}
    expected, listed = {
        "wheel": (
            {f"{path.parent.name}/{path.name}" for path in PACKAGES},
            tool["hatch"]["build"]["targets"]["wheel"]["packages"],
        ),
        "dev-mode-dirs": (folders, tool["hatch"]["build"]["dev-mode-dirs"]),
        "mypy": (names, tool["mypy"]["packages"]),
        "ruff": (folders, tool["ruff"]["src"]),
        "importlinter": (names, tool["importlinter"]["root_packages"]),
    }[table]
    assert sorted(expected - set(listed)) == []


def test_no_package_has_too_many_modules_side_by_side() -> None:
    """At most nine; a package with more is divided into sub-packages. `__init__` is not counted."""
    counts = Counter(relative(file.parent) for file in SOURCES if file.stem != "__init__")
    assert {"core/chaski_core", "worker/chaski_worker", "cli/chaski_cli"} <= set(counts)  # the sources are found
    assert {package: count for package, count in counts.items() if count > MAX_MODULES} == {}


def test_no_file_is_too_long_to_read() -> None:
    """At most 330 lines; most have 150 to 300."""
    lengths = {relative(file): len(file.read_text(encoding="utf-8").splitlines()) for file in SOURCES}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def test_no_function_is_too_long_to_read() -> None:
    """At most 50 lines, from `def` to its end."""
    lengths = {
        f"{relative(file)}:{function.lineno} {function.name}": (function.end_lineno or 0) - function.lineno + 1
        for file in SOURCES
        for function in functions(file)
    }
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


def test_no_function_takes_too_many_parameters_without_a_reason() -> None:
    """At most six, or a reason on the line of `def`."""
    reason = re.compile(r"# noqa: PLR0913(?:, PLR0917)? - \w")
    counts = {
        f"{relative(file)}:{function.lineno} {function.name}": len(parameters(function))
        for file in SOURCES
        for lines in [file.read_text(encoding="utf-8").splitlines()]
        for function in functions(file)
        if not reason.search(lines[function.lineno - 1])
    }
    assert {name: count for name, count in counts.items() if count > MAX_PARAMETERS} == {}


def test_no_file_names_a_package_registry_or_a_path_of_one_machine() -> None:
    """The source of packages is configured where they are installed; a path of one machine works on no other."""
    words = [re.escape(word) for word in REGISTRIES] + [rf"(?<![\w.$}}]){re.escape(path)}" for path in MACHINE_PATHS]
    forbidden = re.compile("|".join(words).encode())
    files = own_files()
    assert len(files) > len(SOURCES)
    found = {relative(file): match.group() for file in files if (match := forbidden.search(file.read_bytes()))}
    assert found == {}


@pytest.mark.parametrize("name", ["dev", "docs", "ingest", "operator", "tools", "worker"])
def test_every_locked_requirement_has_hashes_and_no_line_says_where_from(name: str) -> None:
    """`make setup` and the images install the tested versions, from any index."""
    text = (ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    pinned = re.compile(r"[A-Za-z0-9._-]+(\[[a-z0-9,._-]+\])?==[^ ]+( ; [^\\]+?)?(\s+--hash=sha256:[0-9a-f]{64})+\s*")
    assert [line[:80] for line in lines if not pinned.fullmatch(line)] == []
    assert "://" not in text


def test_every_declared_dependency_is_imported() -> None:
    """A package that nothing imports is still in every image, and needs updates."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = [
        *project["dependencies"],
        *(each for extra in project["optional-dependencies"].values() for each in extra),
    ]
    names = {re.split(r"[\[<>=!~; ]", each)[0] for each in declared} - {project["name"]}
    modules = {module.replace(".", "/") for file in SOURCES for module in imported_modules(file)}
    unused = [
        name
        for name in sorted(names)
        for files in [{str(file).partition(".")[0] for file in metadata.files(name) or ()}]
        if not files & (modules | {f"{module}/__init__" for module in modules})
    ]
    assert unused == []


def test_every_declared_dependency_is_locked() -> None:
    """A dependency that is missing from the lock file fails `make setup` of a fresh clone; the site has a lock file of its own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    groups = project["dependency-groups"].values()
    declared = [*project["project"]["dependencies"], *(each for group in (*extras, *groups) for each in group)]
    names = {re.split(r"[\[<>=!~; ]", each)[0].lower() for each in declared if isinstance(each, str)}
    names -= {project["project"]["name"]}  # an extra that takes in another
    lock = "".join((ROOT / "requirements" / f"{name}.txt").read_text(encoding="utf-8") for name in ("dev", "docs"))
    locked = {match.lower() for match in re.findall(r"(?m)^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==", lock)}
    assert sorted(names - locked) == []
