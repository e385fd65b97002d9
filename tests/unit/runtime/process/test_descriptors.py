"""Limits of open files, in processes of their own: a lowered limit can't be raised again."""

import subprocess
import sys
import textwrap


def _run(soft: int, hard: int, program: str) -> str:
    """The output of a program with these limits."""
    preparation = f"import resource; resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))\n"
    text = preparation + "from chaski_runtime.process import descriptors\n" + textwrap.dedent(program)
    ran = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_the_soft_limit_is_raised_to_the_hard_one() -> None:
    """Or stays where it equals the hard one."""
    program = """
        before = descriptors.limit()
        descriptors.raise_limit()
        print(before, descriptors.limit(), resource.getrlimit(resource.RLIMIT_NOFILE))
    """
    assert _run(256, 512, program) == "256 512 (512, 512)"
    assert _run(128, 128, program) == "128 128 (128, 128)"


def test_a_shortage_is_found_by_opening_files() -> None:
    """With 0 to 6 free descriptors; none stays open."""
    program = """
        import os
        held, found = [], {}
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            pass
        for free in range(7):
            found[free] = descriptors.are_short()
            os.close(held.pop())
        print(found)
    """
    assert _run(64, 64, program) == str({free: free < 4 for free in range(7)})
