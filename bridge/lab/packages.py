"""Broker nodes from an installed root folder, each in mount, process and host name spaces of its own.

Whatever a node mounts or starts lives in its namespaces and ends with their first process: nothing is unmounted by us,
and a `SIGKILL` to that process leaves no rest. The network is the machine's own, on loopback.
"""

from __future__ import annotations

import signal
import socket
import subprocess
from typing import TYPE_CHECKING

from bridge.errors import LabError
from bridge.lab import settings
from bridge.lab.cluster import Ended
from bridge.lab.deadline import until
from bridge.lab.process import MARK, marked, spawn
from bridge.lab.roots import APART, LAST_LINES, check_possible, install

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.lab.process import Process
    from bridge.lab.state import ClusterState, LabState, NodeState, Store
    from bridge.progress import Progress

#: Where the node's own folder appears inside its root.
_HOME = "/var/lib/rabbitmq"
_CONSOLE = "console.log"
_PROGRAMS = "/usr/lib/rabbitmq/bin"
#: Run as `sh -c SCRIPT sh ROOT FOLDER PROGRAM...` inside the new namespaces, ends as the program itself.
_ENTER = """
set -e
root=$1 folder=$2
shift 2
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$folder" "$root/var/lib/rabbitmq"
hostname localhost
cd "$root"
exec chroot "$root" "$@"
"""
_STOP_SECONDS = 60.0
#: As inside a root.
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


class Packages:
    """Runs a lab's nodes from root folders.

    Args:
        store: the lab's folder and state.
        mark: of the lab.
    """

    def __init__(self, store: Store, mark: str) -> None:
        self._store = store
        self._mark = mark

    def prepare(self, progress: Progress) -> None:
        """Install what is missing, lay out the nodes' folders, start the port mapper.

        Raises:
            LabError: this machine cannot run brokers, or a release could not be installed.
        """
        check_possible()
        state = self._store.get()
        roots = install([cluster.version for cluster in state.clusters.values()], self._mark, progress)
        with self._store.change(self._mark) as state:
            for cluster in state.clusters.values():
                cluster.root = roots[cluster.version]
                for node in cluster.nodes:
                    _lay_out(self._folder(node), state, cluster, node)
            # It is the lab's own and no node's: a node that is killed must not take the others' with it.
            folder = self._store.folder / "epmd"
            folder.mkdir(exist_ok=True)
            program = ("epmd", "-port", str(state.epmd_port), "-address", "127.0.0.1")
            environment = {"PATH": _PATH, MARK: state.mark}
            state.epmd = epmd = spawn(_inside(cluster.root, folder, *program), environment, folder / _CONSOLE)
        if not until(lambda: _listens(state.epmd_port) or not epmd.alive(), 20) or not epmd.alive():
            raise LabError(f"epmd does not listen on port {state.epmd_port}:\n{_last_lines(folder)}")

    def start(self, name: str) -> None:
        """Start the node's broker; it is not up yet when this returns."""
        with self._store.change(self._mark) as state:
            cluster, node = state.node(name)
            if node.process is None or not node.process.alive():
                folder = self._folder(node)
                command = _inside(cluster.root, folder, f"{_PROGRAMS}/rabbitmq-server")
                node.process = spawn(command, _environment(state, node), folder / _CONSOLE)

    def stop(self, name: str) -> None:
        """Stop the broker as an operator does, messages written out.

        Raises:
            LabError: it did not stop in time.
        """
        process = self._process(name)
        if process is None:
            return
        # The process that we know holds the namespaces; the broker's script is its child, the first process inside.
        if (inside := process.child()) is not None:
            inside.signal(signal.SIGTERM)
        if not process.wait(_STOP_SECONDS):
            raise LabError(f"{name} did not stop within {_STOP_SECONDS:.0f} s")

    def kill(self, name: str) -> None:
        """End the broker at once, as a power cut does."""
        if (process := self._process(name)) is None:
            return
        # The first process inside: all others of the namespace end with it, and only then the one that we know.
        if (inside := process.child()) is not None:
            inside.signal(signal.SIGKILL)
        if not process.wait(_STOP_SECONDS):
            raise LabError(f"{name} did not end within {_STOP_SECONDS:.0f} s of its SIGKILL")

    def running(self, name: str) -> bool:
        """Whether the node's process lives."""
        process = self._process(name)
        return process is not None and process.alive()

    def ctl(self, name: str, arguments: Sequence[str]) -> Ended:
        """Run `rabbitmqctl` against the node."""
        state = self._store.get()
        cluster, node = state.node(name)
        command = _inside(
            cluster.root, self._folder(node), f"{_PROGRAMS}/rabbitmqctl", "--erlang-cookie", state.cookie, *arguments
        )
        done = subprocess.run(
            command,
            env=_environment(state, node),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        return Ended(done.returncode, done.stdout, done.stderr)

    def last_lines(self, name: str) -> str:
        """Return the end of what the node printed."""
        return _last_lines(self._folder(self._store.get().node(name)[1]))

    def remove(self) -> None:
        """End everything that carries the lab's mark, written down or not."""
        while processes := marked(self._mark):
            # First all the signals, then the waiting: they die side by side.
            for process in processes:
                process.signal(signal.SIGKILL)
            for process in processes:
                process.wait(30)

    def _process(self, name: str) -> Process | None:
        return self._store.get().node(name)[1].process

    def _folder(self, node: NodeState) -> Path:
        return self._store.folder / node.name.partition("@")[0]


def _lay_out(folder: Path, state: LabState, cluster: ClusterState, node: NodeState) -> None:
    """Make the node's folder with everything that its broker reads when it starts."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    listeners = [
        f"listeners.tcp.1 = 127.0.0.1:{node.amqp}",
        "management.tcp.ip = 127.0.0.1",
        f"management.tcp.port = {node.api}",
        f"stream.listeners.tcp.1 = 127.0.0.1:{node.stream}",
    ]
    peers = [peer.name for peer in cluster.nodes] if len(cluster.nodes) > 1 else []
    files = {
        "rabbitmq.conf": settings.configuration(listeners, peers, f"{_HOME}/definitions.json"),
        "definitions.json": settings.definitions(state.user, state.password, cluster.vhosts),
        "enabled_plugins": settings.enabled_plugins(),
    }
    for name, text in files.items():
        (folder / name).write_text(text)


def _last_lines(folder: Path) -> str:
    """Return the end of what the node printed."""
    try:
        return "\n".join((folder / _CONSOLE).read_text(errors="replace").splitlines()[-LAST_LINES:])
    except FileNotFoundError:
        return ""


def _inside(root: Path, folder: Path, *program: str) -> list[str]:
    """Return the command that runs a program of the root in namespaces of its own, with the folder as its home."""
    return [*APART, "--uts", "sh", "-c", _ENTER, "sh", str(root), str(folder), *program]


def _environment(state: LabState, node: NodeState) -> dict[str, str]:
    return {
        "PATH": _PATH,
        "LANG": "C.UTF-8",
        "HOME": _HOME,
        MARK: state.mark,
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "ERL_EPMD_PORT": str(state.epmd_port),
        "RABBITMQ_NODENAME": node.name,
        "RABBITMQ_DIST_PORT": str(node.dist),
        "RABBITMQ_MNESIA_BASE": f"{_HOME}/mnesia",
        "RABBITMQ_LOG_BASE": f"{_HOME}/log",
        "RABBITMQ_ENABLED_PLUGINS_FILE": f"{_HOME}/enabled_plugins",
        "RABBITMQ_CONFIG_FILE": f"{_HOME}/rabbitmq.conf",
        "RABBITMQ_CONF_ENV_FILE": "/dev/null",
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": (
            f"-setcookie {state.cookie} -start_epmd false -kernel inet_dist_use_interface {{127,0,0,1}}"
        ),
        "RABBITMQ_SCHEDULER_BUSY_WAIT_THRESHOLD": settings.BUSY_WAIT,
    }


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
