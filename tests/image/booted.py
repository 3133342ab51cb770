"""A Debian booted with systemd as its first process, and the bridge's unit in it. By systemd-nspawn.

The base is not changed: what is written goes to memory. The network is the host's, so the lab's brokers are on
loopback.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bridge.lab.deadline import until
from bridge.lab.process import Process
from tests.image.build import REPOSITORY

#: Seconds that a machine may take to boot, and a command in it; machines that run tests are busy.
BOOTED_WITHIN, DONE_WITHIN = 120.0, 120.0


class Booted:
    """One machine.

    Args:
        base: its root folder, which stays as it is.
        installed: the folder that is /opt/bridge.
        folder: for its configuration and its log.
        files: what is in /etc/bridge: names with their content, only root's.
    """

    def __init__(self, base: Path, installed: Path, folder: Path, files: Mapping[str, str]) -> None:
        self.etc = folder / "etc"
        for name, content in files.items():
            file = self.etc / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
            # The daemon's user reads the configuration; secrets are read by systemd, as root.
            file.chmod(0o644 if name.endswith(".yaml") else 0o600)
        units = REPOSITORY / "systemd"
        binds = {
            installed: "/opt/bridge",
            units / "bridge.service": "/etc/systemd/system/bridge.service",
            units / "bridge.sysusers.conf": "/usr/lib/sysusers.d/bridge.conf",
        }
        command = ["systemd-nspawn", "--quiet", "--boot", "--volatile=overlay", "--console=pipe", f"--directory={base}"]
        command += [f"--bind-ro={here}:{there}" for here, there in binds.items()]
        command += [f"--bind={self.etc}:/etc/bridge", f"--machine=bridge-{secrets.token_hex(4)}"]
        if not Path("/run/systemd/system").is_dir():
            # Where systemd is not the host's first process, nobody registers machines and makes control groups.
            command += ["--register=no", "--keep-unit"]
        #: Control groups that it makes in ours, and leaves behind.
        made = [path / name for path in Path("/sys/fs/cgroup").iterdir() for name in ("payload", "supervisor")]
        self._made = [path for path in made if not path.exists()]
        self._log = folder / "console"
        with self._log.open("wb") as log:
            self._machine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._first = self._first_process()
            assert until(lambda: self.run("systemctl", "is-system-running").stdout.strip() == "running", BOOTED_WITHIN)
        except BaseException:
            self.end()
            raise

    def _first_process(self) -> int:
        found: list[Process] = []

        def there() -> bool:
            assert self._machine.poll() is None, self._log.read_text()
            child = Process.of(self._machine.pid).child()
            # Until it is systemd it is nspawn's own, on its way into the machine.
            if child is not None and Path(f"/proc/{child.pid}/comm").read_text() == "systemd\n":
                found.append(child)
            return bool(found)

        assert until(there, BOOTED_WITHIN), self._log.read_text()
        return found[0].pid

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it, as its root."""
        inside = ("nsenter", "--target", str(self._first), "--mount", "--pid", "--ipc", "--uts", "--cgroup", "--")
        return subprocess.run([*inside, *words], check=False, capture_output=True, text=True, timeout=DONE_WITHIN)

    def show(self, *properties: str) -> dict[str, str]:
        """What systemd says of the unit."""
        told = self.run("systemctl", "show", "bridge", *(f"--property={name}" for name in properties)).stdout
        return dict(line.split("=", 1) for line in told.splitlines())

    def journal(self) -> str:
        """What the unit printed, and systemd said of it."""
        return self.run("journalctl", "--unit=bridge", "--no-pager", "--output=cat").stdout

    def end(self) -> None:
        """Take its current away."""
        if self._machine.poll() is None:
            self._machine.send_signal(signal.SIGTERM)
        try:
            self._machine.wait(30)
        except subprocess.TimeoutExpired:
            self._machine.kill()
            self._machine.wait()
        for folder in self._made:
            for group, _, _ in os.walk(folder, topdown=False):
                Path(group).rmdir()
