"""Programs that look at a process from outside while it works: py-spy samples its stacks, strace counts its calls."""

from __future__ import annotations

import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from bridge.errors import LabError

#: Samples a second: each stops the process for about 0.1 ms.
RATE = 400
#: Seconds in which such a program must look on, and in which it must have written down what it saw.
ATTACHED_WITHIN = 20.0
WRITTEN_WITHIN = 60.0


def py_spy() -> str:
    """The path of py-spy.

    Raises:
        LabError: it is not installed.
    """
    beside = Path(sys.executable).parent / "py-spy"
    found = str(beside) if beside.exists() else shutil.which("py-spy")
    if found is None:
        raise LabError("py-spy is not installed: nothing can be sampled", hint="make profile installs it")
    return found


def sampling(form: str, file: Path, *, native: bool = False) -> list[str]:
    """The command that samples into a file, without what is sampled; `form` is `raw` or `flamegraph`."""
    command = [py_spy(), "record", "--rate", str(RATE), "--function", "--format", form, "--output", str(file)]
    return [*command, "--native"] if native else command


@contextmanager
def sampled(pid: int, form: str, file: Path, *, native: bool = False) -> Iterator[None]:
    """Sample a process's stacks for a block."""
    with _beside([*sampling(form, file, native=native), "--pid", str(pid)], "Press Control-C"):
        yield


@contextmanager
def traced(pid: int, file: Path) -> Iterator[None]:
    """Count a process's system calls for a block.

    Raises:
        LabError: strace is not installed.
    """
    strace = shutil.which("strace")
    if strace is None:
        raise LabError("strace is not installed: calls of the system cannot be counted", hint="apt-get install strace")
    # A summary instead of each call, of all threads.
    with _beside([strace, "-c", "-f", "-o", str(file), "-p", str(pid)], "attached"):
        yield


@contextmanager
def _beside(command: Sequence[str], word: str) -> Iterator[None]:
    """Run a program for a block, once it has printed `word`; then interrupt it, and wait until it has written."""
    # Unbuffered: a buffer might hold the rest of what `select` speaks of.
    process = subprocess.Popen(
        command, bufsize=0, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL
    )
    assert process.stdout is not None
    try:
        _await(process.stdout, word, Path(command[0]).name)
        yield
        process.send_signal(signal.SIGINT)
        try:
            process.communicate(timeout=WRITTEN_WITHIN)
        except subprocess.TimeoutExpired as fault:
            raise LabError(f"{Path(command[0]).name} did not end within {WRITTEN_WITHIN:g} s") from fault
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def _await(out: IO[bytes], word: str, name: str) -> None:
    """Wait until a program called `name` has printed a word."""
    said = b""
    while word.encode() not in said:
        ready = select.select([out], [], [], ATTACHED_WITHIN)[0]
        more = out.read(4096) if ready else b""
        if not more:
            told = said.decode(errors="replace").strip()
            raise LabError(f"{name} did not look at the process: {told}", hint="it takes root, or ptrace allowed")
        said += more


@dataclass(frozen=True)
class Call:
    """How often one call of the system was made."""

    name: str
    count: int


def calls(summary: str) -> list[Call]:
    """Read what `strace -c` wrote, the most frequent first.

    A line is `% time, seconds, usecs/call, calls, errors, syscall`; errors may be absent.
    """
    found = []
    for line in summary.splitlines():
        words = line.split()
        if len(words) in (5, 6) and words[3].isdigit() and words[-1] != "total":
            found.append(Call(words[-1], int(words[3])))
    return sorted(found, key=lambda call: -call.count)
