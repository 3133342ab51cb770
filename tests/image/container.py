"""A container of the image as an orchestrator runs it: read-only root, no rights, the host's network. By crun."""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.image.build import Image

#: Files of the host that say where hosts are.
_RESOLVING = ("/etc/hosts", "/etc/resolv.conf")
#: Where control groups of both versions are in use, version 2 is here.
_HYBRID = Path("/sys/fs/cgroup/unified")


class Container:
    """One container; not started yet.

    Args:
        image: what it runs.
        folder: for its bundle.
        arguments: after the image's entry point; none: the image's own.
        shared: folders of the host that it has at the same path, to write.
        config: the host's file that is /etc/bridge/bridge.yaml.
    """

    def __init__(
        self,
        image: Image,
        folder: Path,
        arguments: Sequence[str] = (),
        *,
        shared: Sequence[Path] = (),
        config: Path | None = None,
    ) -> None:
        self.name = f"bridge-{secrets.token_hex(6)}"
        self.bundle = folder / self.name
        self.bundle.mkdir()
        self._image = image.config
        self.user = int(self._image["User"].partition(":")[0])
        spec = self._spec(image, arguments or self._image["Cmd"], shared, config)
        (self.bundle / "config.json").write_text(json.dumps(spec))
        self._process: subprocess.Popen[bytes] | None = None
        self._log = self.bundle / "log"

    @property
    def command(self) -> list[str]:
        """Runs it in the foreground, and passes signals on."""
        return [*self._crun("run"), "--bundle", str(self.bundle), self.name]

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text()

    def start(self) -> None:
        """Start it."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal, as an orchestrator does."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self, seconds: float) -> int:
        """Wait for its end, and return its exit code."""
        assert self._process is not None
        return self._process.wait(seconds)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a program in it while it runs, as its user."""
        user = ("--user", self._image["User"])
        return subprocess.run(
            [*self._crun("exec"), *user, self.name, *words], check=False, capture_output=True, text=True
        )

    @property
    def health(self) -> subprocess.CompletedProcess[str]:
        """What the image's health check says."""
        kind, *words = self._image["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*words)

    def remove(self) -> None:
        """End it, whatever it does."""
        subprocess.run([*self._crun("delete"), "--force", self.name], check=False, capture_output=True)
        if self._process is not None:
            self._process.wait(10)

    @staticmethod
    def _crun(verb: str) -> list[str]:
        # The tests limit nothing, so no control group is needed, which not every machine lets us make.
        crun = ["crun", "--cgroup-manager=disabled", verb]
        if not _HYBRID.is_dir():
            return crun
        # crun takes version 1 or version 2 of them, and not both at once: where it looks, only one is left.
        return [
            "unshare",
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            f'umount {_HYBRID}; exec "$@"',
            "sh",
            *crun,
        ]

    def _spec(
        self, image: Image, arguments: Sequence[str], shared: Sequence[Path], config: Path | None
    ) -> dict[str, Any]:
        """The bundle's config.json (OCI runtime specification, 1.0)."""
        nothing: list[str] = []
        own = [f"uid={self.user}", f"gid={self.user}", "mode=0755", "nosuid", "nodev"]
        binds = [(str(path), str(path), "rw") for path in shared]
        binds += [(path, path, "ro") for path in _RESOLVING if Path(path).exists()]
        if config is not None:
            binds.append((str(config), "/etc/bridge/bridge.yaml", "ro"))
        kinds = ("bounding", "effective", "inheritable", "permitted", "ambient")
        return {
            "ociVersion": "1.0.2",
            "root": {"path": str(image.root), "readonly": True},
            "hostname": "container",
            "process": {
                "user": {"uid": self.user, "gid": self.user},
                "args": [*self._image["Entrypoint"], *arguments],
                "env": self._image["Env"],
                "cwd": self._image["WorkingDir"],
                "noNewPrivileges": True,
                "capabilities": dict.fromkeys(kinds, nothing),
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
                {"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev"]},
                {"destination": "/run/bridge", "type": "tmpfs", "source": "tmpfs", "options": own},
                {"destination": "/var/lib/bridge", "type": "tmpfs", "source": "tmpfs", "options": own},
                *(
                    {"destination": to, "type": "bind", "source": path, "options": ["rbind", how]}
                    for path, to, how in binds
                ),
            ],
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]},
        }
