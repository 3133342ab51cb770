"""A Debian with Python and systemd: what the image is built on, and what is booted. Made once, and kept."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from tempfile import mkdtemp

from bridge.lab.roots import APART, roots_folder

SUITE = "bookworm"
_PACKAGES = ("python3", "python3-venv", "ca-certificates", "systemd", "systemd-sysv", "dbus")
#: What nobody reads there.
_TRIMMED = ("var/cache/apt/archives", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")


def base_root() -> Path:
    """The folder, read-only to all who use it; beside the roots of the lab's brokers."""
    folder = roots_folder()
    folder.mkdir(parents=True, exist_ok=True)
    root = folder / f"service-{SUITE}"
    with (folder / f".service-{SUITE}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if root.is_dir():
            return root
        draft = Path(mkdtemp(prefix=f".service-{SUITE}-", dir=folder))
        try:
            mirror = os.environ.get("BRIDGE_LAB_MIRROR", "")  # empty: debootstrap's own
            packages = f"--include={','.join(_PACKAGES)}"
            debootstrap = ("debootstrap", "--variant=minbase", packages, SUITE, str(draft), mirror)
            told = subprocess.run(
                [*APART, "--mount-proc", *debootstrap],
                check=False,
                capture_output=True,
                text=True,
                env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"},
            )
            assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
            for name in _TRIMMED:
                shutil.rmtree(draft / name, ignore_errors=True)
            draft.chmod(0o755)
            draft.rename(root)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
    return root


def bytes_in(root: Path) -> int:
    """Bytes of all files, those with several names once."""
    sizes: dict[tuple[int, int], int] = {}
    for folder, _, names in os.walk(root):
        for name in names:
            found = Path(folder, name).lstat()
            sizes[found.st_dev, found.st_ino] = found.st_size
    return sum(sizes.values())
