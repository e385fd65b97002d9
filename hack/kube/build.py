"""Builds the programs of Kubernetes, Helm and others from their Go modules: `build.py PROGRAM...` prints the folder that contains them.

`--kubernetes MINOR`, or the environment's `CHASKI_KUBERNETES`, chooses one of the versions in `kubernetes/`; the newest is the default.
The folder is outside the checkout, and its name is the minor version and a hash of this file and of the modules. If
`KUBEBUILDER_ASSETS` is set, it is the folder and nothing is built. The first build takes minutes; Go caches compiled packages.
With `--if-built` nothing is built, and a missing program exits with status 4. Status 3: Go is not installed.
With `--for-tests` both only log the reason and exit with 0 unless `CI=true`, because the tests that need the programs are skipped.
"""

import argparse
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).resolve().parent
# minor version -> version, oldest first: the folders of `kubernetes/`
VERSIONS = {
    file.parent.name: re.findall(r"\bk8s\.io/kubernetes v(\S+)", file.read_text())[0]
    for file in sorted(HERE.glob("kubernetes/*/go.mod"))
}
NEWEST = list(VERSIONS)[-1]
_VERSION = "k8s.io/component-base/version"
_OWN = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "kubectl", "kubelet")
# program -> the folder of its go.mod, its package
PROGRAMS = {name: ("kubernetes", f"k8s.io/kubernetes/cmd/{name}") for name in _OWN} | {
    "etcd": ("etcd", "go.etcd.io/etcd/server/v3"),
    "coredns": ("coredns", "."),
    "helm3": ("helm3", "helm.sh/helm/v3/cmd/helm"),
    "helm4": ("helm4", "helm.sh/helm/v4/cmd/helm"),
    "kubeconform": ("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    "tofu": ("opentofu", "github.com/opentofu/opentofu/cmd/tofu"),
}
NO_GO, NOT_BUILT = 3, 4
_EVERY_SECONDS = 30.0  # interval of progress lines


def main() -> None:
    """Reads the command line, builds, prints the folder."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("programs", nargs="+", choices=sorted(PROGRAMS), metavar="PROGRAM", help=" ".join(PROGRAMS))
    parser.add_argument(
        "--kubernetes",
        choices=VERSIONS,
        default=os.environ.get("CHASKI_KUBERNETES") or NEWEST,
        help="(default: %(default)s)",
    )
    parser.add_argument("--if-built", action="store_true", help="build nothing: fail if a program is missing")
    parser.add_argument(
        "--for-tests", action="store_true", help="exit with 0 if the programs are unavailable, unless CI=true"
    )
    given = parser.parse_args()
    if given.kubernetes not in VERSIONS:  # argparse does not check a default
        parser.error(f"CHASKI_KUBERNETES is {given.kubernetes}, which is not one of {', '.join(VERSIONS)}")
    try:
        print(ready(given.programs, given.kubernetes, given.if_built))
    except UnavailableError as error:
        log(str(error))
        sys.exit(0 if given.for_tests and os.environ.get("CI") != "true" else error.status)


class UnavailableError(Exception):
    """The programs are unavailable; `status` is the exit status."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


def ready(programs: list[str], minor: str, if_built: bool) -> Path:
    """The folder with the programs of a minor version; builds those that are missing. Raises UnavailableError."""
    if assets := os.environ.get("KUBEBUILDER_ASSETS"):
        if absent := missing(Path(assets), programs):
            reason = f"KUBEBUILDER_ASSETS is {assets}, which lacks {', '.join(absent)}; nothing is built there"
            raise UnavailableError(NOT_BUILT, reason)
        return Path(assets)
    folder = cache(minor)
    absent = missing(folder, programs)
    if absent and if_built:
        raise UnavailableError(
            NOT_BUILT, f"{', '.join(absent)} not built yet for Kubernetes {minor}: run `make kube` once"
        )
    if absent:
        with locked(folder):
            for name in missing(folder, programs):  # another process may have built some meanwhile
                build(name, minor, folder)
    return folder


def cache(minor: str) -> Path:
    """The folder for the programs of this recipe and a minor version; the modules of other versions don't matter."""
    recipe = hashlib.sha256()
    folders = [*sorted({folder for folder, _ in PROGRAMS.values()} - {"kubernetes"}), f"kubernetes/{minor}"]
    files = [file for folder in folders for file in sorted((HERE / folder).iterdir())]
    for file in [Path(__file__), *files]:
        recipe.update(file.name.encode() + b"\0" + file.read_bytes() + b"\0")
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return root / "chaski" / "kube" / f"{minor}-{recipe.hexdigest()[:16]}"


def missing(folder: Path, programs: list[str]) -> list[str]:
    """The programs that are not in a folder."""
    return [name for name in programs if not os.access(folder / name, os.X_OK)]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Locks the folder against other processes that build."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log("waiting for another process that is building")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def build(name: str, minor: str, folder: Path) -> None:
    """Builds one program; the file appears under its name only when it is complete."""
    go = shutil.which("go") or shutil.which("/usr/local/go/bin/go")
    if go is None:
        raise UnavailableError(NO_GO, f"{name} is built with Go, which is not installed (https://go.dev/dl/)")
    where, package = PROGRAMS[name]
    stamps = ""
    if where == "kubernetes":
        where = f"kubernetes/{minor}"
        major, short = minor.split(".")
        stamps = (
            f"-X {_VERSION}.gitVersion=v{VERSIONS[minor]} -X {_VERSION}.gitMajor={major} -X {_VERSION}.gitMinor={short}"
        )
    partial = folder / f".{name}.{os.getpid()}"
    flags = ["-v", "-mod=readonly", "-trimpath", "-buildvcs=false", f"-ldflags=-s -w {stamps}"]
    command = [go, "build", *flags, "-o", str(partial), package]
    began = time.monotonic()
    log(f"building {name} (the first time on a machine takes minutes)")
    environment = os.environ | {"CGO_ENABLED": "0", "GOWORK": "off"}
    with subprocess.Popen(command, cwd=HERE / where, env=environment, stderr=subprocess.PIPE, text=True) as process:
        output = follow(process, name)
    if process.returncode:
        partial.unlink(missing_ok=True)
        raise SystemExit(f"{name} could not be built:\n" + "\n".join(output[-30:]))
    partial.rename(folder / name)
    log(f"built {name} in {time.monotonic() - began:.0f} s")


def follow(process: subprocess.Popen[str], name: str) -> list[str]:
    """Logs the progress of a build; returns the compiler's output by lines."""
    output: list[str] = []
    logged = time.monotonic()
    for line in process.stderr or ():
        output.append(line.rstrip())
        if time.monotonic() - logged > _EVERY_SECONDS:
            logged = time.monotonic()
            log(f"building {name}: {len(output)} packages compiled")
    return output


def log(text: str) -> None:
    """Writes to stderr; stdout contains only the folder."""
    print(f"kube: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
