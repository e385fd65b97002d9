"""Where Kubernetes' programs come from: a folder that the user names, else the cache, else Go, else nowhere."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

BUILD = Path(__file__).resolve().parents[3] / "hack" / "kube" / "build.py"


def run(tmp_path: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command with an empty cache."""
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
    """An executable file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch(mode=0o755)


def test_prebuilt_programs_are_taken_and_nothing_is_built(tmp_path: Path) -> None:
    """`KUBEBUILDER_ASSETS` is where they are; what it lacks is said."""
    assets = tmp_path / "assets"
    program(assets, "etcd")
    found = run(tmp_path, "etcd", KUBEBUILDER_ASSETS=str(assets))
    assert (found.returncode, found.stdout) == (0, f"{assets}\n")
    lacking = run(tmp_path, "etcd", "kube-apiserver", KUBEBUILDER_ASSETS=str(assets))
    assert (lacking.returncode, lacking.stdout) == (4, "")
    assert "has no kube-apiserver; nothing is built then" in lacking.stderr
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize(("environment", "status"), [({}, 0), ({"CI": "true"}, 4)], ids=["laptop", "CI"])
def test_what_can_not_be_had_stops_only_ci(tmp_path: Path, environment: dict[str, str], status: int) -> None:
    """On a laptop the tests that need it are skipped."""
    told = run(tmp_path, "--for-tests", "etcd", KUBEBUILDER_ASSETS=str(tmp_path), **environment)
    assert (told.returncode, told.stdout) == (status, "")


def test_what_was_not_built_is_said_with_what_to_do(tmp_path: Path) -> None:
    """A test never builds by itself: it would take minutes."""
    told = run(tmp_path, "--if-built", "etcd")
    assert (told.returncode, told.stdout, told.stderr) == (4, "", "kube: etcd not built yet: run `make kube` once\n")


def test_without_go_the_reason_is_told(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit status 3."""
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    with pytest.raises(build.UnavailableError, match="built with Go, which is not installed") as raised:
        build.ready(["etcd"], if_built=False)
    assert raised.value.status == 3


def test_what_is_in_the_cache_is_not_built_again(build: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder's name is the content of the recipe, so an older one's programs are not taken."""
    monkeypatch.setattr(build.shutil, "which", lambda _: None)
    program(build.cache(), "etcd")
    assert build.ready(["etcd"], if_built=False) == build.cache()
    assert len(build.cache().name) == 16
