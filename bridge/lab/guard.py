"""The process that takes a lab down when its owner ends, however it ends.

Run as `python -m bridge.lab.guard NAME MARK PID STARTED`. It sleeps in the kernel until the owner is gone.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from bridge.lab.process import Process, spawn
from bridge.lab.state import labs_folder


def start(name: str, mark: str, owner: Process) -> Process:
    """Start the guard of a lab; it belongs to no session or group of the owner."""
    # The lab's mark is not in its environment: it must not end itself half-way through its work.
    environment = dict(os.environ)
    # It runs the same code as we do, whether that is installed or lies in the working folder.
    environment["PYTHONPATH"] = str(Path(__file__).parents[2])
    environment["BRIDGE_LAB_STATE"] = str(labs_folder())
    command = [sys.executable, "-m", "bridge.lab.guard", name, mark, str(owner.pid), str(owner.started)]
    return spawn(command, environment, Path(os.devnull))


def main() -> None:
    """Wait for the owner's end, then take the lab down."""
    name, mark, pid, started = sys.argv[1:]
    Process(pid=int(pid), started=int(started)).wait(None)
    from bridge.lab.brokers import take_down

    take_down(name, mark)


if __name__ == "__main__":
    main()
