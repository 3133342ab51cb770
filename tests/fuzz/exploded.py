"""Every bomb in a process of its own, with its limits of time and memory, and an ear at what it does."""

from __future__ import annotations

import gc
import json
import os
import resource
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from bridge.core import eta
from tests.fuzz.bombs import CANARY, Bomb

#: Bytes that reading a body may take above what the process has.
MEMORY = 64 * 2**20
#: Seconds of processor time that it may take. What we aim at is a tenth of it; this leaves room for a slow machine.
SECONDS = 1.0
#: Address space above what the process has: enough for MEMORY to be measured.
ADDRESSES = 512 * 2**20
#: What Python reports of itself (PEP 578) when it does what nothing in a body may make it do.
HARM = (
    "import",
    "exec",
    "compile",
    "open",
    "os.",
    "subprocess.",
    "pickle.",
    "marshal.",
    "socket.",
    "ctypes.",
    "shutil.",
)


class Burst(NamedTuple):
    """What a bomb did."""

    name: str
    seconds: float
    memory: int
    outcome: str
    harm: list[str]

    def faults(self) -> list[str]:
        """Why it should not have."""
        found = [f"{self.name}: did {what}" for what in self.harm]
        if self.seconds > SECONDS:
            found.append(f"{self.name}: took {self.seconds:.2f} s, {SECONDS} s are allowed")
        if self.memory > MEMORY:
            found.append(f"{self.name}: took {self.memory / 2**20:.0f} MiB, {MEMORY / 2**20:.0f} are allowed")
        if self.outcome.startswith("!"):
            found.append(f"{self.name}: {self.outcome[1:]}")
        return found


def exploded(all_of_them: Iterable[Bomb]) -> Iterator[Burst]:
    """Read each in a child process."""
    # What Python loads when it first meets an encoding is not the body's doing.
    for encoding in ("raw-unicode-escape", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "latin-1", "windows-1252"):
        b"\0\0\0\0".decode(encoding)
    gc.collect()
    # Else the collector of each child would copy the pages of all that is here.
    gc.freeze()
    for bomb in all_of_them:
        end, start = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(end)
            os.write(start, json.dumps(_burst(bomb)).encode())
            os._exit(0)
        os.close(start)
        with os.fdopen(end, "rb") as pipe:
            said = pipe.read()
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if said:
            yield Burst(*json.loads(said))
        else:
            yield Burst(bomb.name, 0.0, 0, f"!ended with status {status} before it was read", [])
    if Path(CANARY).exists():
        yield Burst("canary", 0.0, 0, "!something was run", [])


def _burst(bomb: Bomb) -> Burst:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, size + ADDRESSES))
    resource.setrlimit(resource.RLIMIT_CPU, (5, 5))
    harm: list[str] = []
    sys.addaudithook(
        lambda event, arguments: harm.append(f"{event} {arguments!r:.80}") if event.startswith(HARM) else None
    )
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    try:
        due = eta.of_body(bomb.body, bomb.content_type, bomb.content_encoding, bomb.compression)
        outcome = "at once" if due is None else "an ETA"
    except eta.Unreadable as fault:
        outcome = "!out of memory" if isinstance(fault.__cause__, MemoryError) else f"unreadable: {str(fault)[:90]}"
    except BaseException as fault:  # noqa: BLE001  whatever else comes out is what is looked for
        outcome = f"!{type(fault).__name__}: {str(fault)[:200]}"
    seconds = time.process_time() - began
    memory = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) * 1024
    return Burst(bomb.name, seconds, memory, outcome, list(harm))
