"""A worker's sockets in a separate network namespace, where ports and addresses can be removed."""

import shlex
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.tools import missing, need

pytestmark = pytest.mark.landing

PORTS = "/proc/sys/net/ipv4/ip_local_port_range"
NO_IPV6 = "/proc/sys/net/ipv6/conf/all/disable_ipv6"
PROGRAM = """
    import fcntl, socket, struct
    from chaski_worker.guard.addresses import DialRecord, current_dial, plain_socket

    SIOCSIFFLAGS, IFF_UP_RUNNING = 0x8914, 0x41  # netdevice(7)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", IFF_UP_RUNNING))

    def dial(family, address):
        record = DialRecord()
        current_dial.set(record)
        made = plain_socket((family, socket.SOCK_STREAM, 6, "", address))
        try:
            made.connect(address)
        except OSError as error:
            made.close()
            return error.errno, record.shortage.reason.value if record.shortage else None
        return made
"""


def _run(commands: str, program: str, folder: Path) -> str:
    """Runs commands and a program in a new network namespace; returns the program's output."""
    unshare = need("unshare")
    if subprocess.run([unshare, "-n", "true"], check=False, capture_output=True).returncode:
        missing("a network namespace can't be created, which needs root")
    file = folder / "program.py"
    file.write_text(textwrap.dedent(PROGRAM) + textwrap.dedent(program))
    script = f"{commands} && exec {shlex.quote(sys.executable)} {shlex.quote(str(file))}"
    ran = subprocess.run([unshare, "-n", "sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


@pytest.mark.promise(4)
def test_ports_towards_one_address_are_exhausted(tmp_path: Path) -> None:
    """Six ports and six connections: a shortage of the worker; another address can still be dialled."""
    program = """
        targets = [socket.create_server((f"127.0.0.{n}", 0)) for n in (2, 3)]
        held = []
        while not isinstance(got := dial(socket.AF_INET, targets[0].getsockname()), tuple):
            held.append(got)
        other = dial(socket.AF_INET, targets[1].getsockname())
        print(got, isinstance(other, tuple))
    """
    assert _run(f'echo "40000 40005" > {PORTS}', program, tmp_path) == "(99, 'ports') False"


def test_an_unreachable_address_family_is_not_a_shortage(tmp_path: Path) -> None:
    """::1 on a host without IPv6 gives the same errno, and would never recover."""
    program = 'print(dial(socket.AF_INET6, ("::1", 9, 0, 0)))'
    number, _, rest = _run(f"echo 1 > {NO_IPV6}", program, tmp_path).strip("()").partition(", ")
    assert (number, rest) == ("99", "None")
