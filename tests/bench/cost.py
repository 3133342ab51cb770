"""What a process costs, and what the brokers of a world cost: processor time and memory, by the kernel's accounting."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from tests.support.brokers import World


def process_time(pid: int) -> float:
    """Return the processor time that all threads of a process have used, user and system, in seconds.

    It is what /proc/PID/stat has in hundredths of a second, to the nanosecond: clock_getcpuclockid(3).
    """
    return time.clock_gettime(~pid << 3 | 2)


def peak_memory(pid: int) -> float:
    """Return the most memory that a process ever had resident, in MiB: VmHWM of proc(5)."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def brokers_time(world: World) -> float | None:
    """Return the processor time that all brokers of a world have used since they started, in seconds.

    All processes of both sides count: the Erlang machine, its helpers, and whatever started them. None where brokers
    run in containers: their processes are the engine's.
    """
    found = 0.0
    for cluster in {id(cluster): cluster for cluster in (world.old, world.new)}.values():
        state = cluster._state()
        for node in state.nodes:
            if node.process is None:
                return None
            first = psutil.Process(node.process.pid)
            for process in (first, *first.children(recursive=True)):
                try:
                    found += process_time(process.pid)
                except OSError:
                    continue  # one of a broker's short-lived helpers ended while we looked
    return found
