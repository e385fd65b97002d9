"""The source of Kubernetes' programs: the user's folder, the cache, or a build with Go."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).resolve().parents[3] / "hack" / "kube" / "build.py"


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command with an empty cache."""
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    command = [sys.executable, str(BUILD), *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=clean | environment, timeout=60, check=False)


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The module, with an empty cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
    spec = importlib.util.spec_from_file_location("kube_build", BUILD)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def program(folder: Path, name: str) -> None:
    """Creates an executable file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch(mode=0o755)


def test_prebuilt_programs_are_used_and_nothing_is_built(tmp_path: Path) -> None:
    """`KUBEBUILDER_ASSETS` is their folder; missing programs are named."""
    assets = tmp_path / "assets"
    program(assets, "etcd")
    found = run(tmp_path, "etcd", KUBEBUILDER_ASSETS=str(assets))
    assert (found.returncode, found.stdout) == (0, f"{assets}\n")
    lacking = run(tmp_path, "etcd", "kube-apiserver", KUBEBUILDER_ASSETS=str(assets))
    assert (lacking.returncode, lacking.stdout) == (4, "")
    assert "lacks kube-apiserver; nothing is built" in lacking.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("environment", "status"), [({}, 0), ({"CI": "true"}, 4)], ids=["laptop", "CI"])
def test_unavailable_programs_fail_only_in_ci(tmp_path: Path, environment: dict[str, str], status: int) -> None:
    """On a laptop the tests that need them are skipped."""
    ran = run(tmp_path, "--for-tests", "etcd", KUBEBUILDER_ASSETS=str(tmp_path), **environment)
    assert (ran.returncode, ran.stdout) == (status, "")


def test_a_missing_build_is_reported_with_the_command_to_run(tmp_path: Path) -> None:
    """A test never builds, because this takes minutes."""
    ran = run(tmp_path, "--if-built", "etcd")
    assert (ran.returncode, ran.stdout, ran.stderr) == (
        4,
        "",
        "kube: etcd not built yet for Kubernetes 1.37: run `make kube` once\n",
    )


def test_without_go_the_reason_is_reported(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 3."""
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(build.UnavailableError, match="built with Go, which is not installed") as raised:
        build.ready(["etcd"], build.NEWEST, if_built=False)
    assert raised.value.status == 3


def test_a_cached_program_is_not_built_again(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name has a hash of the recipe, so programs of an older recipe are not used."""
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    program(build.cache("1.37"), "etcd")
    assert build.ready(["etcd"], "1.37", if_built=False) == build.cache("1.37")
    assert re.fullmatch("1.37-[0-9a-f]{16}", build.cache("1.37").name)


def test_each_minor_version_has_a_folder_of_its_own(tmp_path: Path, build: ModuleType) -> None:
    """The newest by default, another by option or environment; the option wins."""
    assert {minor: version.rpartition(".")[0] for minor, version in build.VERSIONS.items()} == {
        "1.35": "1.35",
        "1.37": "1.37",
    }
    folders = {minor: build.cache(minor) for minor in build.VERSIONS}
    assert len(set(folders.values())) == 2
    for folder in folders.values():
        program(folder, "etcd")
    by_default = run(tmp_path, "--if-built", "etcd").stdout
    by_option = run(tmp_path, "--if-built", "--kubernetes", "1.37", "etcd", CHASKI_KUBERNETES="1.35").stdout
    by_environment = run(tmp_path, "--if-built", "etcd", CHASKI_KUBERNETES="1.35").stdout
    assert by_default == by_option == f"{folders['1.37']}\n"
    assert by_environment == f"{folders['1.35']}\n"


def test_an_unknown_minor_version_is_refused(tmp_path: Path) -> None:
    """In the environment too, with the known ones."""
    ran = run(tmp_path, "--if-built", "etcd", CHASKI_KUBERNETES="1.20")
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "CHASKI_KUBERNETES is 1.20, which is not one of 1.35, 1.37" in ran.stderr


def test_the_modules_of_a_minor_version_are_of_one_release(build: ModuleType) -> None:
    """Kubernetes publishes its libraries as modules of their own, which have to be pinned to the same release."""
    for minor, version in build.VERSIONS.items():
        text = (BUILD.parent / "kubernetes" / minor / "go.mod").read_text()
        pinned = set(re.findall(r"k8s\.io/\S+ => k8s\.io/\S+ v(\S+)", text))
        assert pinned == {version.replace("1.", "0.", 1)}
