"""Installed RabbitMQ releases: a Debian root folder per suite, made by debootstrap, kept and shared by all labs.

1. A root is made under another name and renamed when it is complete, so what has the suite's name is whole.
2. Labs that install at once wait for each other at a lock file per suite; different suites install side by side.
3. debootstrap runs in namespaces of its own: when it is ended half-way, nothing of it stays mounted or running.
4. Brokers get a root read-only, so it never changes after it was made.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import TYPE_CHECKING

from bridge.errors import LabError
from bridge.lab.process import MARK, marked
from bridge.lab.releases import release

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from bridge.lab.releases import Release
    from bridge.progress import Progress

#: Lines of a failed program's output that an error shows.
LAST_LINES = 15
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_SCRIPTS = Path("/usr/share/debootstrap/scripts")
#: Ends with its parent, sees only its own processes and mounts, and takes them along.
APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation", "private")
_STEPS = {
    "I: Retrieving": "fetching packages",
    "I: Validating": "fetching packages",
    "I: Extracting": "extracting the base system",
    "I: Unpacking": "unpacking packages",
    "I: Configuring": "configuring packages",
}
#: What a broker never reads: package caches, manuals, translations.
_TRIMMED = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale", "var/log")


def roots_folder() -> Path:
    """Return where roots are kept: $BRIDGE_LAB_ROOTS, else by $XDG_CACHE_HOME, else in the home folder."""
    if chosen := os.environ.get("BRIDGE_LAB_ROOTS"):
        return Path(chosen).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base).absolute() / "celery-quorum-bridge" / "roots"


def check_possible() -> None:
    """Check that this machine can install and run brokers from packages.

    Raises:
        LabError: it cannot, and why.
    """
    docker = "or start a Docker engine that this user may use"
    if os.geteuid() != 0:
        raise LabError(
            "no brokers: no Docker engine answers, and installing them from Debian's packages needs root",
            hint=f"run the same command as root (sudo), {docker}",
        )
    if shutil.which("apt-get") is None and shutil.which("debootstrap") is None:
        raise LabError(
            "no brokers: no Docker engine answers, and this is neither Debian nor Ubuntu (no apt-get found)",
            hint="start a Docker engine",
        )
    probe = subprocess.run([*APART, "true"], capture_output=True, text=True, check=False)
    if probe.returncode != 0:
        raise LabError(
            f"no brokers: no Docker engine answers, and this root may not make namespaces ({probe.stderr.strip()})",
            hint=f"in a container, start it privileged, {docker}",
        )


def install(versions: Collection[str], mark: str, progress: Progress) -> dict[str, Path]:
    """Make the roots of these release series where they are missing, side by side.

    Args:
        versions: release series, as in `releases`.
        mark: goes into the environment of what installs, so that `down` ends it as well.
        progress: told each step.

    Returns:
        The root folder of each version.

    Raises:
        LabError: one could not be made; holds the last lines of the installer.
    """
    releases = [release(version) for version in dict.fromkeys(versions)]
    folder = roots_folder()
    folder.mkdir(parents=True, exist_ok=True)
    if missing := [release for release in releases if not (folder / release.suite).is_dir()]:
        _ensure_debootstrap(folder, mark, progress)
        with ThreadPoolExecutor(max_workers=len(missing)) as pool:
            installing = [pool.submit(_install_one, folder, release, mark, progress) for release in missing]
            try:
                for done in as_completed(installing):
                    done.result()
            except BaseException:
                # Leaving the pool waits for all of it, and debootstrap, first in its namespace, does not hear a Ctrl-C.
                for process in marked(mark):
                    process.kill()
                raise
    return {release.version: folder / release.suite for release in releases}


def _install_one(folder: Path, release: Release, mark: str, progress: Progress) -> None:
    subject = f"RabbitMQ {release.version}"
    root = folder / release.suite
    with _locked(folder / f".{release.suite}.lock", lambda: progress(subject, "another lab installs it, waiting")):
        if root.is_dir():
            progress(subject, "installed meanwhile")
            return
        for left in folder.glob(f".{release.suite}-*"):
            shutil.rmtree(left)  # of an installation that was ended half-way; we hold the lock
        draft = Path(mkdtemp(prefix=f".{release.suite}-", dir=folder))
        try:
            _debootstrap(release, draft, mark, progress)
            progress(subject, "removing caches and manuals")
            _trim(draft)
            _check_release(draft, release)
            # Nodes find each other and themselves by this name; nothing else is looked up.
            (draft / "etc/hosts").write_text("127.0.0.1 localhost\n")
            draft.chmod(0o755)
            draft.rename(root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        progress(subject, "installed")


def _debootstrap(release: Release, target: Path, mark: str, progress: Progress) -> None:
    # The last argument lets an older debootstrap install a suite that it has no script for: sid's fits any newer one.
    known = _SCRIPTS / release.suite
    command = [
        *APART,
        "--mount-proc",
        "debootstrap",
        "--variant=minbase",
        "--include=rabbitmq-server",
        f"--keyring={_KEYRING}",
        release.suite,
        str(target),
        os.environ.get("BRIDGE_LAB_MIRROR", ""),  # empty: debootstrap's own
        str(known if known.exists() else _SCRIPTS / "sid"),
    ]

    def told(line: str) -> None:
        for prefix, step in _STEPS.items():
            if line.startswith(prefix):
                progress(f"RabbitMQ {release.version}", f"{step} of Debian {release.suite}")

    _run(command, f"installing RabbitMQ {release.version} from Debian {release.suite}", mark, told)


def _ensure_debootstrap(folder: Path, mark: str, progress: Progress) -> None:
    """Install debootstrap and Debian's keyring (Ubuntu has it apart) where they are missing."""
    with _locked(folder / ".debootstrap.lock", lambda: progress("debootstrap", "another lab installs it, waiting")):
        missing = []
        if shutil.which("debootstrap") is None:
            missing.append("debootstrap")
        if not _KEYRING.exists():
            missing.append("debian-archive-keyring")
        if not missing:
            return
        names = " and ".join(missing)
        for command in (["apt-get", "update"], ["apt-get", "install", "--yes", "--no-install-recommends", *missing]):
            progress(names, " ".join(command[:2]))
            _run(command, f"installing {names}", mark, lambda _line: None)


def _run(command: list[str], doing: str, mark: str, told: Callable[[str], None]) -> None:
    """Run a program to its end, telling each line.

    Raises:
        LabError: it failed; holds its last lines.
    """
    environment: Mapping[str, str] = {
        **os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8", MARK: mark,
    }  # fmt: skip
    last: deque[str] = deque(maxlen=LAST_LINES)
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment,
        errors="replace",
    ) as process:  # fmt: skip
        assert process.stdout is not None  # noqa: S101 - we asked for a pipe
        try:
            for line in process.stdout:
                last.append(line.rstrip())
                told(line)
        except BaseException:
            process.kill()  # leaving the block waits for its end
            raise
    if process.returncode != 0:
        raise LabError(
            f"{doing} failed with exit code {process.returncode}; its last lines:\n" + "\n".join(last),
            hint="is Debian's mirror reachable? another one: BRIDGE_LAB_MIRROR=<its url>",
        )


def _trim(root: Path) -> None:
    for name in _TRIMMED:
        for entry in (root / name).glob("*"):
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
            else:
                entry.unlink()


def _check_release(root: Path, release: Release) -> None:
    found = [folder.name.rpartition("-")[2] for folder in (root / "usr/lib/rabbitmq/lib").glob("rabbitmq_server-*")]
    if not any(version.startswith(f"{release.version}.") for version in found):
        raise LabError(
            f"Debian {release.suite} has RabbitMQ {', '.join(found) or '(none)'}, the lab wants {release.version}",
            hint=f"BRIDGE_LAB_MIRROR=<url of a mirror or snapshot whose {release.suite} has {release.version}>",
        )


@contextmanager
def _locked(path: Path, taken: Callable[[], None]) -> Iterator[None]:
    """Hold the lock; call `taken` before waiting when another holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            taken()
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
