"""How many instructions a message costs the core: the player under valgrind's callgrind, and what it counted.

callgrind simulates the processor and needs none of its counters. The same Python gives the same counts to a thousandth,
whatever else the machine does; what is left is where the memory happens to lie.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guard.player import COUNTED

#: Seconds in which the player must have ended: twenty times what it takes.
LONGEST = 600.0
#: glibc picks a copy or search routine by the processor; with these gone it is the same one on each.
#: Names that a release of glibc does not know are passed over by it.
_PLAIN = "glibc.cpu.hwcaps=-AVX2,-AVX2_Usable,-AVX,-AVX_Fast_Unaligned_Load,-ERMS,-FSRM,-BMI2"
_DESCRIBE = """
import json, platform, sys, sysconfig
paths = sysconfig.get_paths()
print(json.dumps([platform.python_version(), platform.machine(), sys.version, [paths["purelib"], paths["platlib"]]]))
"""
_TOTALS = re.compile(rb"^totals: (\d+)$", re.MULTILINE)
_REPOSITORY = Path(__file__).parents[2]


class GuardError(Exception):
    """Nothing could be counted; `hint` says what to do."""

    def __init__(self, text: str, hint: str = "") -> None:
        super().__init__(text)
        self.hint = hint


class Missing(GuardError):
    """valgrind is not here."""


@dataclass(frozen=True)
class Python:
    """An interpreter.

    Attributes:
        program: its path.
        version: such as 3.11.7.
        machine: such as x86_64.
        build: all it says about itself: two of the same build count the same.
        packages: folders with its packages.
    """

    program: str
    version: str
    machine: str
    build: str
    packages: tuple[str, ...]

    @classmethod
    def at(cls, program: str) -> Python:
        """Ask an interpreter what it is.

        Raises:
            GuardError: it cannot be started.
        """
        try:
            said = subprocess.run([program, "-c", _DESCRIBE], capture_output=True, check=True, text=True).stdout
        except (OSError, subprocess.CalledProcessError) as fault:
            raise GuardError(f"{program} does not run: {fault}") from fault
        version, machine, build, packages = json.loads(said)
        return cls(program, version, machine, build, tuple(packages))

    @property
    def minor(self) -> str:
        """Such as 3.11."""
        return ".".join(self.version.split(".")[:2])


@dataclass(frozen=True)
class Counts:
    """What was counted in one run.

    Attributes:
        calibration: instructions of a round of the calibration.
        messages: by shape, instructions of a message.
    """

    calibration: float
    messages: Mapping[str, float]

    @property
    def costs(self) -> dict[str, float]:
        """By shape, what a message costs in rounds of the calibration."""
        return {name: count / self.calibration for name, count in self.messages.items()}


def count(python: Python, names: Sequence[str]) -> Counts:
    """Play the shapes with these names and count.

    Raises:
        Missing: valgrind is not installed.
        GuardError: the player failed, or the counter did not see its marks.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise Missing("valgrind is not installed, and instructions cannot be counted", "apt-get install valgrind")
    with tempfile.TemporaryDirectory(prefix="guard-") as folder:
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONHASHSEED": "0",
            "PYTHONPATH": os.pathsep.join((str(_REPOSITORY), *python.packages)),
            "PYTHONPYCACHEPREFIX": f"{folder}/compiled",
            "GLIBC_TUNABLES": _PLAIN,
        }
        # Without `site`, whose .pth files may load anything.
        player = [python.program, "-S", "-m", "tests.guard.player"]
        # Once for nothing: it compiles the modules, which would take longer under valgrind.
        _run(player, environment)
        out = Path(folder, "counts")
        options = ["--tool=callgrind", "--dump-before=getppid", f"--callgrind-out-file={out}"]
        _run([valgrind, *options, *player, *names], environment)
        dumps = [_totals(Path(f"{out}.{number}")) for number in range(1, 2 * len(names) + 3)]
    # Each second one ends at a mark that ends what is counted; the others are what was made ready before.
    calibration, *messages = (dump / COUNTED for dump in dumps[1::2])
    return Counts(calibration, dict(zip(names, messages, strict=True)))


def _run(command: Sequence[str], environment: Mapping[str, str]) -> None:
    try:
        done = subprocess.run(
            command,
            check=False,
            env=dict(environment),
            cwd=_REPOSITORY,
            capture_output=True,
            text=True,
            timeout=LONGEST,
        )
    except (OSError, subprocess.TimeoutExpired) as fault:
        raise GuardError(f"the player did not run: {fault}") from fault
    if done.returncode:
        last = "\n".join((done.stdout + done.stderr).strip().splitlines()[-8:])
        raise GuardError(
            f"the player ended with exit code {done.returncode}:\n{last}",
            "the core's objects are made and called in tests/guard/shapes.py: follow what changed there; "
            "a Python given by --python needs the packages that the core imports",
        )


def _totals(dump: Path) -> int:
    found = _TOTALS.search(dump.read_bytes()) if dump.exists() else None
    if found is None:
        raise GuardError(
            f"callgrind wrote no {dump.name}: it did not see a mark of the player",
            "the marks are calls of getppid (tests/guard/player.py)",
        )
    return int(found[1])
