"""The units, as systemd itself reads them; tests/image boots them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from bridge import daemon
from bridge.config_sections import DEFAULT_SOCKET, Export
from bridge.config_sections import Hooks as HooksSection
from bridge.errors import Exit
from tests.support.ci import in_ci

UNITS = Path(__file__).parents[3] / "systemd"
NAMES = ("bridge.service", "bridge@.service")
#: What `systemd-analyze security` may find at most, of 10; it counts in tenths.
EXPOSURE = 2.0

Unit = dict[str, list[str]]


def unit(name: str) -> Unit:
    """Its directives, each with all its values."""
    found: Unit = {}
    for line in (UNITS / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


@pytest.fixture
def analyze() -> str:
    """systemd-analyze; in CI it must be there."""
    found = shutil.which("systemd-analyze")
    if found is None:
        if not in_ci():
            pytest.skip("systemd-analyze is not installed (package systemd)")
        pytest.fail("systemd-analyze is not installed (package systemd)")
    return found


def asked(*command: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_wrong(name: str, analyze: str, tmp_path: Path) -> None:
    # The program is where an operator installs it, which is not here.
    program = tmp_path / "bridge"
    program.symlink_to(sys.executable)
    copy = tmp_path / name.replace("@", "@main")
    copy.write_text((UNITS / name).read_text().replace("/opt/bridge/bin/bridge", str(program)))
    told = asked(analyze, "verify", "--recursive-errors=no", "--man=no", copy)
    assert (told.returncode, told.stdout + told.stderr) == (0, "")


@pytest.mark.parametrize("name", NAMES)
def test_little_is_left_to_an_attacker(name: str, analyze: str) -> None:
    told = asked(analyze, "security", "--offline=true", "--no-pager", f"--threshold={EXPOSURE * 10:.0f}", UNITS / name)
    assert told.returncode == 0, told.stdout + told.stderr
    found = re.search(r"Overall exposure level for .*: (\d+\.\d)", told.stdout)
    assert found is not None, told.stdout
    assert float(found[1]) < EXPOSURE


def test_both_units_are_the_same_but_for_their_folders() -> None:
    one, many = (unit(name) for name in NAMES)

    def plain(value: str) -> str:
        return value.replace("/etc/bridge/%i/", "/etc/bridge/").replace("bridge-%i", "bridge").replace(", %i", "")

    assert {key: [plain(value) for value in values] for key, values in many.items()} == one


def test_what_the_unit_says_fits_the_daemon() -> None:
    found = unit("bridge.service")
    assert found["Type"] == ["notify"]
    # A stop that was asked for ends before systemd kills it.
    assert int(found["TimeoutStopSec"][0]) > daemon.LEAVE + HooksSection().timeout
    assert found["RestartPreventExitStatus"] == [str(int(Exit.USAGE))]
    assert Path("/run", found["RuntimeDirectory"][0]) == Path(DEFAULT_SOCKET).parent
    assert Path("/var/lib", found["StateDirectory"][0]) in Path(Export().folder).parents


def test_the_user_of_the_unit_is_made() -> None:
    lines = (UNITS / "bridge.sysusers.conf").read_text().splitlines()
    (made,) = (line.split() for line in lines if not line.startswith("#"))
    assert made[:2] == ["u", unit("bridge.service")["User"][0]]


def test_every_directive_is_explained() -> None:
    """A block of directives without a comment above it is one that nobody can judge."""
    blocks = (UNITS / "bridge.service").read_text().split("\n\n")
    for block in blocks[2:]:
        assert block.startswith(("#", "[")), block
