"""Java emulators of AWS services from Maven, and their processes.

The jars are copied once per content of a pom, to a cache outside the checkout. Without Java or Maven a test is skipped
on a laptop, with the reason, and fails where `CI=true`.
"""

import fcntl
import hashlib
import os
import queue
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from support.tools import missing, requires

POMS = Path(__file__).resolve().parents[3] / "hack" / "aws-standins"
COPY_SECONDS = 300
START_SECONDS = 60
STOP_SECONDS = 10


def jars(name: str) -> Path:
    """The folder that holds the jars of `hack/aws-standins/<name>/pom.xml`."""
    requires("landing", name)
    pom = POMS / name / "pom.xml"
    for tool in ("java", "mvn"):
        if shutil.which(tool) is None:
            missing(f"{name} needs {tool}")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "chaski"
    cache.mkdir(parents=True, exist_ok=True)
    folder = cache / f"{name}-{hashlib.sha256(pom.read_bytes()).hexdigest()[:16]}"
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # concurrent test processes copy once
        if not folder.is_dir():
            _copy(pom, folder)
    return folder


def _copy(pom: Path, folder: Path) -> None:
    partial = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    command = ["mvn", "-q", "-B", "-f", str(pom), "dependency:copy-dependencies", f"-DoutputDirectory={partial}"]
    copied = subprocess.run(command, capture_output=True, text=True, timeout=COPY_SECONDS, check=False)
    if copied.returncode:
        missing(f"Maven could not copy the jars of {pom.parent.name}: {copied.stdout[-800:]}{copied.stderr[-800:]}")
    partial.rename(folder)


class JavaProcess:
    """A server in a Java process; it is ready when its output has a certain line."""

    def __init__(self, arguments: Sequence[str], started: str) -> None:
        """Starts the process. `started`: a regular expression that a line of its output matches."""
        self._process = subprocess.Popen(
            ["java", "-XX:+UseSerialGC", "-Xmx256m", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self.welcome = self._wait_for(re.compile(started))

    def stop(self) -> None:
        """Ends the process."""
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(STOP_SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:  # continues later too, or the pipe fills and the server blocks
            self._lines.put(line)

    def _wait_for(self, started: re.Pattern[str]) -> re.Match[str]:
        deadline = time.monotonic() + START_SECONDS
        lines: list[str] = []
        while (left := deadline - time.monotonic()) > 0 and (self._process.poll() is None or not self._lines.empty()):
            try:
                lines.append(self._lines.get(timeout=min(left, 0.2)))
            except queue.Empty:
                continue
            if match := started.search(lines[-1]):
                return match
        self.stop()
        while not self._lines.empty():
            lines.append(self._lines.get())
        raise AssertionError(f"no line like {started.pattern!r} within {START_SECONDS} s: {''.join(lines)[-2000:]}")
