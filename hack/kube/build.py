"""Builds Kubernetes' programs from their Go modules: `build.py PROGRAM...` prints the folder in which they then lie.

That folder is outside the checkout, one for each content of this recipe. `KUBEBUILDER_ASSETS`, where it is set, is
that folder, and nothing is built. The first build of all takes minutes; Go keeps what it compiled.
With `--if-built` nothing is built: it ends with status 4 where a program is missing. Status 3: there is no Go here.
With `--for-tests` both are only said, since the tests that need the programs are then skipped, unless `CI=true`.
"""

import argparse
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
KUBERNETES = "1.34.4"
_MAJOR, _MINOR, _ = KUBERNETES.split(".")
_VERSION = "k8s.io/component-base/version"
_STAMPS = f"-X {_VERSION}.gitVersion=v{KUBERNETES} -X {_VERSION}.gitMajor={_MAJOR} -X {_VERSION}.gitMinor={_MINOR}"
_OWN = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
# program -> the folder of its go.mod, its package, what the linker is told besides
PROGRAMS = {name: ("kubernetes", f"k8s.io/kubernetes/cmd/{name}", _STAMPS) for name in _OWN} | {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3", ""),
    "coredns": ("coredns", "github.com/coredns/coredns", ""),
    "helm": ("helm", "helm.sh/helm/v3/cmd/helm", ""),
    "kubeconform": ("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform", ""),
}
NO_GO, NOT_BUILT = 3, 4
_EVERY_SECONDS = 30.0  # how often a long build says that it goes on


def main() -> None:
    """Reads the command line, builds, prints the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("programs", nargs="+", choices=sorted(PROGRAMS), metavar="PROGRAM", help=" ".join(PROGRAMS))
    parser.add_argument("--if-built", action="store_true", help="build nothing: say whether it is there")
    parser.add_argument("--for-tests", action="store_true", help="end well where they can't be had, unless CI=true")
    given = parser.parse_args()
    try:
        print(ready(given.programs, given.if_built))
    except UnavailableError as error:
        say(str(error))
        sys.exit(0 if given.for_tests and os.environ.get("CI") != "true" else error.status)


class UnavailableError(Exception):
    """The programs can't be had here; `status` is the exit status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def ready(programs: list[str], if_built: bool) -> Path:
    """The folder with the programs, built where they were not. Raises UnavailableError."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        if absent := missing(Path(assets), programs):
            reason = f"KUBEBUILDER_ASSETS is {assets}, which has no {', '.join(absent)}; nothing is built then"
            raise UnavailableError(NOT_BUILT, reason)
        return Path(assets)
    folder = cache()
    absent = missing(folder, programs)
    if absent and if_built:
        raise UnavailableError(NOT_BUILT, f"{', '.join(absent)} not built yet: run `make kube` once")
    if absent:
        with locked(folder):
            for name in missing(folder, programs):  # another process may have built it meanwhile
                build(name, folder)
    return folder


def cache() -> Path:
    """Where the programs of this recipe lie."""
    recipe = hashlib.sha256()
    for file in sorted([Path(__file__), *HERE.glob("*/go.mod"), *HERE.glob("*/go.sum")]):
        recipe.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "chaski" / "kube" / recipe.hexdigest()[:16]


def missing(folder: Path, programs: list[str]) -> list[str]:
    """Which of the programs are not in a folder."""
    return [name for name in programs if not os.access(folder / name, os.X_OK)]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Holds the folder for this process alone; others wait, and then find what it built."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another process that builds here")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(name: str, folder: Path) -> None:
    """Builds one program; what is there under its name is always whole."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise UnavailableError(NO_GO, f"{name} is built with Go, which is not installed (https://go.dev/dl/)")
    where, package, stamps = PROGRAMS[name]
    partial = folder / f".{name}.{os.getpid()}"
    command = [go, "build", "-v", "-mod=readonly", "-trimpath", f"-ldflags=-s -w {stamps}", "-o", str(partial), package]
    began = time.monotonic()
    say(f"building {name} (the first time on a machine takes minutes)")
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    with subprocess.Popen(command, cwd=HERE / where, env=environment, stderr=subprocess.PIPE, text=True) as process:
        said = follow(process, name)
    if process.returncode:
        partial.unlink(missing_ok=True)
        raise SystemExit(f"{name} could not be built:\n" + "\n".join(said[-30:]))
    partial.rename(folder / name)
    say(f"built {name} in {time.monotonic() - began:.0f} s")


def follow(process: subprocess.Popen[str], name: str) -> list[str]:
    """Says now and then how far a build is; what the compiler said."""
    said: list[str] = []
    spoke = time.monotonic()
    for line in process.stderr or ():
        said.append(line.rstrip())
        if time.monotonic() - spoke > _EVERY_SECONDS:
            spoke = time.monotonic()
            say(f"building {name}: {len(said)} packages compiled")
    return said


def say(text: str) -> None:
    """To the person; stdout carries the folder alone."""
    print(f"kube: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
