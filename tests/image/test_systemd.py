"""The unit under a real systemd, with all that it takes away: what the daemon does not get is what it does not need."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import yaml

from bridge.lab.deadline import until
from tests.image.booted import Booted
from tests.image.build import Image
from tests.support.brokers import Vhosts
from tests.support.peers import Peer

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True),
]

#: A hook that tells what it may: hooks live in the unit's sandbox as well.
_HOOK = "id --user --name; touch /etc/x /opt/bridge/x || echo read-only; touch /var/lib/bridge/x && echo written"


def without_password(url: str, name: str) -> tuple[str, str]:
    """A URL with a variable for its password, and the password."""
    password = urlsplit(url).password
    assert password is not None
    return url.replace(f":{password}@", f":${{{name}}}@"), password


@pytest.fixture
def machine(base: Path, image: Image, vhosts: Vhosts, tmp_path: Path) -> Iterator[Booted]:
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("q1")
        new.quorum("q1")
        old.publish("q1", range(300))
    source, old_password = without_password(vhosts.old.amqp, "OLD_PASSWORD")
    target, new_password = without_password(vhosts.new.amqp, "NEW_PASSWORD")
    config = {
        "source": {"amqp": source, "api": without_password(vhosts.old.api, "OLD_PASSWORD")[0]},
        "target": {"amqp": target, "api": without_password(vhosts.new.api, "NEW_PASSWORD")[0]},
        "gate": {"consumers": 0},
        "hooks": {"on_active": ["/bin/sh", "-c", _HOOK]},
        "log": {"format": "text"},
    }
    files = {
        "bridge.yaml": yaml.safe_dump(config),
        "credentials/OLD_PASSWORD": f"{old_password}\n",
        "credentials/NEW_PASSWORD": f"{new_password}\n",
    }
    made = Booted(base, image.root / "opt/bridge", tmp_path, files)
    yield made
    made.end()


def test_the_daemon_does_all_it_does_within_the_unit(machine: Booted) -> None:
    started = machine.run("systemctl", "start", "bridge")
    assert started.returncode == 0, started.stderr + machine.journal()
    # It was ready when `start` returned, and says in a sentence what it does.
    shown = machine.show("ActiveState", "SubState", "StatusText", "MainPID", "Type")
    assert (shown["ActiveState"], shown["SubState"]) == ("active", "running")
    assert shown["StatusText"].startswith("active")

    told = machine.run("cat", f"/proc/{shown['MainPID']}/status").stdout
    fields = dict(line.split(":\t", 1) for line in told.splitlines())
    bridge = machine.run("id", "--user", "bridge").stdout.strip()
    assert fields["Uid"].split() == [bridge] * 4 != ["0"] * 4
    assert (fields["CapEff"], fields["CapBnd"], fields["NoNewPrivs"], fields["Seccomp"]) == (
        "0" * 16,
        "0" * 16,
        "1",
        "2",
    )
    assert until(lambda: "written" in machine.journal(), 20), machine.journal()
    assert "exit code 0" in machine.journal()
    assert "bridge / " in machine.journal()
    assert "read-only" in machine.journal()

    # The verbs, by the command, which the kernel names: root of this machine.
    assert machine.run("/opt/bridge/bin/bridge", "health").returncode == 0
    assert machine.run("/opt/bridge/bin/bridge", "cutover", "q1").returncode == 0
    assert ", by root@" in machine.run("/opt/bridge/bin/bridge", "changes", "q1").stdout
    assert until(lambda: moved(machine) == 300, 60), machine.journal()

    # A reload is heard; one with faults changes nothing.
    assert machine.run("systemctl", "reload", "bridge").returncode == 0
    assert until(lambda: "reloaded /etc/bridge/bridge.yaml" in machine.journal(), 20)
    good = (machine.etc / "bridge.yaml").read_text()
    (machine.etc / "bridge.yaml").write_text(good + "nonsense: 1\n")
    assert machine.run("systemctl", "reload", "bridge").returncode == 0
    assert until(lambda: "reload refused" in machine.journal(), 20)
    assert machine.show("ActiveState")["ActiveState"] == "active"

    # A start with faults is not tried again.
    machine.run("systemctl", "restart", "bridge")
    assert until(lambda: machine.show("ActiveState")["ActiveState"] == "failed", 20)
    assert machine.show("ExecMainStatus", "NRestarts") == {"ExecMainStatus": "2", "NRestarts": "0"}
    (machine.etc / "bridge.yaml").write_text(good)

    # A daemon that hangs is killed and started again, and goes on where it was.
    machine.run("mkdir", "-p", "/run/systemd/system/bridge.service.d")
    machine.run("sh", "-c", "printf '[Service]\\nWatchdogSec=3\\n' > /run/systemd/system/bridge.service.d/sooner.conf")
    machine.run("systemctl", "daemon-reload")
    assert machine.run("systemctl", "start", "bridge").returncode == 0
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=STOP", "bridge")
    assert until(lambda: machine.show("NRestarts", "ActiveState") == {"NRestarts": "1", "ActiveState": "active"}, 60)
    assert "Watchdog timeout" in machine.journal()
    assert queue(machine)["route"] == "quorum"

    # So is one that was killed; one that was stopped is not, and leaves nothing behind.
    machine.run("systemctl", "kill", "--kill-who=main", "--signal=KILL", "bridge")
    assert until(lambda: machine.show("NRestarts", "ActiveState") == {"NRestarts": "2", "ActiveState": "active"}, 60)
    assert machine.run("systemctl", "stop", "bridge").returncode == 0
    assert machine.show("Result", "ActiveState") == {"Result": "success", "ActiveState": "inactive"}
    assert machine.run("test", "-e", "/run/bridge").returncode == 1
    assert machine.run("stat", "--format=%U %a", "/var/lib/bridge").stdout == "bridge 700\n"
    assert "Traceback" not in machine.journal()


def queue(machine: Booted) -> dict[str, object]:
    told = machine.run("/opt/bridge/bin/bridge", "status", "--json")
    found: dict[str, object] = json.loads(told.stdout)["queues"][0]
    return found


def moved(machine: Booted) -> object:
    return queue(machine)["moved"]
