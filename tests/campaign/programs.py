"""Chaski's real processes: `chaski dev` on a folder, or ingest and workers on emulators of SQS and DynamoDB."""

import asyncio
import contextlib
import itertools
import os
import resource
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import orjson

from campaign.machine import clock_library, forget_clock, free_ports, mount, unmount
from campaign.plan import MAIN, WAITING, route
from support.aws.emulators import running_emulators

BIN = Path(sys.executable).parent
VISIBILITY_SECONDS = 15  # instead of a minute, so that messages of a killed process are soon received by others
_STOP_SECONDS = 40.0
_RESTART_SECONDS = 1.0  # delay of a supervisor


class Program:
    """A process. If it ends by itself, this is recorded and it is restarted."""

    start_seconds = 90.0  # for a start

    def __init__(self, name: str, folder: Path, command: Sequence[str | Path], environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self.exits: list[str] = []
        self.control = asyncio.Lock()  # held by faults that stop or start the process
        self._command = command
        self._clock = folder / f"{name}.clock"
        self._environment = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        self._environment |= dict(environment)
        if library := clock_library():
            self._environment |= {
                "LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(self._clock), "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1",
            }  # fmt: skip
        self._process: Process | None = None
        self._was_ready = False
        self._descriptors = 0  # its limit before `limit_descriptors`
        self.set_clock(0)

    @property
    def pid(self) -> int:
        """Id of the current or last process."""
        assert self._process is not None
        return self._process.pid

    @property
    def runs(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Starts the process and waits until it is ready; retries if it ends, as a supervisor does.

        Raises:
            TimeoutError: The first start did not succeed. If a later start takes too long, this is recorded and left to `watch`.
        """
        try:
            async with asyncio.timeout(self.start_seconds):
                while not await self._try_to_start():
                    await asyncio.sleep(_RESTART_SECONDS)
        except TimeoutError:
            await self.kill()
            if not self._was_ready:
                raise
            self.exits.append(f"{self.name}: was not ready within {self.start_seconds:.0f} s of its start")
        self._was_ready = True

    async def kill(self) -> None:
        """Sends SIGKILL."""
        if self._process is not None and self.runs:
            self._process.kill()
            await self._process.wait()
            forget_clock(self.pid)

    async def stop(self) -> int:
        """Sends SIGTERM; returns the exit code. If the process does not end in time, this is recorded and SIGKILL follows."""
        assert self._process is not None
        if self.runs:
            self._process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                return await self._process.wait()
        except TimeoutError:
            self.exits.append(f"{self.name}: did not end within {_STOP_SECONDS:.0f} s of SIGTERM")
            await self.kill()
            return -signal.SIGKILL

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal if the process is running."""
        if self._process is not None and self.runs:
            self._process.send_signal(number)

    def set_clock(self, seconds: int) -> None:
        """Sets the offset of its wall clock, which takes effect within a second; 0 is the right time."""
        moved = self._clock.with_suffix(".new")
        moved.write_text(f"{seconds:+d}\n")
        moved.rename(self._clock)

    def limit_descriptors(self, more: int | None) -> None:
        """Limits the number of descriptors that it can open in addition; None restores the limit of the start."""
        if not self.runs:
            return
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            soft, hard = resource.prlimit(self.pid, resource.RLIMIT_NOFILE)
            if more is None:
                soft = self._descriptors
            else:
                self._descriptors = soft
                used = {int(each.name) for each in Path(f"/proc/{self.pid}/fd").iterdir()}
                soft = next(number for number in itertools.count() if number not in used) + more
            resource.prlimit(self.pid, resource.RLIMIT_NOFILE, (min(soft, hard), hard))

    def waited_for_cpu(self) -> float:
        """Seconds since its start that its main thread waited for a CPU (Linux: proc_pid_schedstat(5))."""
        try:
            return int(Path(f"/proc/{self.pid}/schedstat").read_text().split()[1]) / 1e9
        except (OSError, IndexError):
            return 0.0

    async def watch(self) -> None:
        """Restarts the process when it ends by itself."""
        while True:
            await asyncio.sleep(0.25)
            if not self.runs and not self.control.locked():
                assert self._process is not None
                self.exits.append(f"{self.name}: ended by itself with {self._process.returncode}")
                async with self.control:
                    await self.start()

    async def _try_to_start(self) -> bool:
        begin = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, stdin=DEVNULL, stdout=out, stderr=out, env=self._environment
            )
        while self._process.returncode is None:
            if self._ready(begin):
                return True
            await asyncio.sleep(0.05)
        return False

    def _ready(self, begin: int) -> bool:
        with self.log.open("rb") as log:
            log.seek(begin)
            return any(b'"event.action":"ready"' in line.replace(b" ", b"") for line in log)


@dataclass
class World:
    """The running processes, and the flags to read their stores."""

    backend: str
    folder: Path
    ingest: str  # URL
    store: tuple[str, ...]  # flags for the commands that read it
    programs: list[Program] = field(default_factory=list)
    environment: Mapping[str, str] = field(default_factory=dict)
    own_file_system: bool = False
    suspended: Path | None = None  # file of the route with the waiting messages
    target: str = ""

    async def command(self, *arguments: str) -> tuple[int, str]:
        """Runs `chaski` with the right clock; returns its exit code and output."""
        process = await asyncio.create_subprocess_exec(
            BIN / "chaski", *arguments, stdin=DEVNULL, stdout=PIPE, stderr=PIPE, env=os.environ | dict(self.environment)
        )
        out, err = await process.communicate()
        assert process.returncode is not None
        if process.returncode not in {0, 1}:
            raise RuntimeError(f"chaski {' '.join(arguments)}: {err.decode()}")
        return process.returncode, out.decode()

    def write_waiting_route(self, *, suspended: bool) -> None:
        """Writes the route whose messages wait longer than its retention of one day; it has no ladder."""
        assert self.suspended is not None
        document = route(
            WAITING, self.target, "Relaxed", retry={"rungs": [], "ladders": []}, deadLetters={"retentionDays": 1},
            suspend={"delivery": suspended},
        )  # fmt: skip
        self.suspended.write_bytes(orjson.dumps(document))


@asynccontextmanager
async def world(backend: str, folder: Path, target: str, ordering: str) -> AsyncIterator[World]:
    """Starts all processes; stops them at the end."""
    opening = _embedded(folder, target, ordering) if backend == "embedded" else _sqs(folder, target, ordering)
    async with opening as made:
        try:
            await asyncio.gather(*(each.start() for each in made.programs))
            yield made
        finally:
            await asyncio.gather(*(_end(each) for each in made.programs))


async def _end(program: Program) -> None:
    program.signal(signal.SIGCONT)
    await program.kill()


@asynccontextmanager
async def _embedded(folder: Path, target: str, ordering: str) -> AsyncIterator[World]:
    data = folder / "data"
    data.mkdir()
    mounted = await asyncio.to_thread(mount, data)
    try:
        files = [folder / f"{MAIN}.json", folder / f"{WAITING}.json"]
        files[0].write_bytes(orjson.dumps(route(MAIN, target, ordering)))
        ports = [str(port) for port in free_ports(3)]
        flags = ("--port", ports[0], "--metrics-port", ports[1], "--console-port", ports[2], "--log-format", "json")
        environment = {"CHASKI_VISIBILITY_SECONDS": str(VISIBILITY_SECONDS)}
        made = World("embedded", folder, f"http://127.0.0.1:{ports[0]}", ("--data", str(data)))
        made.own_file_system, made.suspended, made.target = mounted, files[1], target
        made.write_waiting_route(suspended=True)
        made.programs = [Program("dev", folder, (BIN / "chaski", "dev", *files, "--data", data, *flags), environment)]
        yield made
    finally:
        if mounted:
            unmount(data)


@asynccontextmanager
async def _sqs(folder: Path, target: str, ordering: str) -> AsyncIterator[World]:
    async with running_emulators("embedded", folder) as (queues, tables):
        environment = {
            "AWS_ENDPOINT_URL_SQS": queues, "AWS_ENDPOINT_URL_DYNAMODB": tables, "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ACCESS_KEY_ID": "any", "AWS_SECRET_ACCESS_KEY": "any", "CHASKI_ALLOW_LOOPBACK": "1",
            "CHASKI_VISIBILITY_SECONDS": str(VISIBILITY_SECONDS),
        }  # fmt: skip
        file, resolved = folder / f"{MAIN}.json", folder / "resolved.yaml"
        file.write_bytes(orjson.dumps(route(MAIN, target, ordering)))
        port, *metrics = free_ports(5)
        made = World("sqs", folder, f"http://127.0.0.1:{port}", ("--resolved", str(resolved)), environment=environment)
        code, _ = await made.command("provision", str(file), "--owner", "campaign", "-o", str(resolved))
        assert code == 0
        jobs = ("consume", "consume", "retry" if ordering == "Relaxed" else "consume")
        hosts = [("--host", "127.0.0.1", "--metrics-port", str(each)) for each in metrics]
        ingest = (BIN / "chaski-ingest", "--auth", "keys", "--routes", resolved, "--port", str(port), *hosts[0])
        workers = [
            (BIN / "chaski-worker", job, "--route", resolved, *host) for job, host in zip(jobs, hosts[1:], strict=True)
        ]
        made.programs = [
            Program("ingest", folder, ingest, environment),
            *(Program(f"worker-{index}", folder, command, environment) for index, command in enumerate(workers, 1)),
        ]
        yield made


@asynccontextmanager
async def recording(file: Path) -> AsyncIterator[str]:
    """Runs the target's process; yields its URL."""
    await asyncio.to_thread(file.touch)
    process = await asyncio.create_subprocess_exec(
        sys.executable, Path(__file__).with_name("target.py"), file, stdin=DEVNULL, stdout=PIPE
    )
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    try:
        yield f"http://127.0.0.1:{port}/"
    finally:
        process.terminate()
        await process.wait()
