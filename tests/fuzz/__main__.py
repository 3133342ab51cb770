"""`python -m tests.fuzz --cases 100000 --seed 1`: made-up headers, deliveries, answers and bodies through the core.

Exits 1 when anything came out that must not; each fault is named with what plays it again (`--only`).
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time

import click

from tests.fuzz.bombs import bombs
from tests.fuzz.cases import case, cases
from tests.fuzz.exploded import exploded

#: Address space of the process that plays the cases: what is not bounded ends in a MemoryError.
ADDRESSES = 2**30
#: Bytes that its resident memory may grow by.
MEMORY = 96 * 2**20
#: Set in the process that plays.
LIMITED = "FUZZ_LIMITED"


def resident() -> int:
    """Most bytes of memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def run(count: int, seed: int) -> list[str]:
    """Play and print; what must not have been."""
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES, ADDRESSES))
    cases(seed, range(200))
    before, began = resident(), time.monotonic()
    outcomes, faults = cases(seed, range(count))
    seconds, grown = time.monotonic() - began, resident() - before
    print(f"{count} cases in {seconds:.1f} s: {count / seconds:.0f} a second")
    for outcome, times in sorted(outcomes.items()):
        print(f"  {times:7d}  {outcome}")
    print(f"memory: {resident() / 2**20:.0f} MiB at most, {grown / 2**20:.1f} MiB more than after 200 cases")
    if grown > MEMORY:
        faults.append(f"memory grew by {grown / 2**20:.0f} MiB, {MEMORY / 2**20:.0f} are allowed")
    return faults


def explode() -> list[str]:
    """Read every bomb and print the dearest; what must not have been."""
    made = list(bombs())
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        bursts = list(exploded(made))
        os.chdir("/")
    dear = sorted(bursts, key=lambda burst: burst.seconds, reverse=True)
    large = max(bursts, key=lambda burst: burst.memory)
    print(f"{len(bursts)} bombs: {large.memory / 2**20:.1f} MiB at most ({large.name}); the dearest:")
    for burst in dear[:10]:
        print(f"  {burst.seconds * 1000:7.1f} ms  {burst.name} ({burst.outcome[:60]})")
    return [fault for burst in bursts for fault in burst.faults()]


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--cases", "count", type=click.IntRange(0), default=100_000, show_default=True, help="Headers and deliveries."
)
@click.option("--seed", default=1, show_default=True, help="What the cases are made from.")
@click.option("--only", type=click.IntRange(0), help="Play one case, and show where it failed.")
def fuzz(count: int, seed: int, only: int | None) -> None:
    """Feed made-up input to the core."""
    if only is not None:
        print(case(seed, only))
        return
    if LIMITED not in os.environ:
        # A fresh process: its memory is that of the cases alone.
        environment = {**os.environ, LIMITED: "1", "PYTHONPATH": os.pathsep.join(sys.path)}
        sys.exit(
            subprocess.run([sys.executable, "-m", "tests.fuzz", *sys.argv[1:]], env=environment, check=False).returncode
        )
    # The cases first: the bombs themselves are so large that growth would not be seen behind them.
    faults = run(count, seed) + explode()
    for fault in faults[:50]:
        print(f"FAULT {fault}")
    print(f"{len(faults)} faults")
    sys.exit(bool(faults))


if __name__ == "__main__":
    fuzz()
