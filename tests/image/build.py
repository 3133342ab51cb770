"""The image, built from the working tree as an operator builds it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

REPOSITORY = Path(__file__).parents[2]
_BASE, _NAME = "localhost/base", "localhost/bridge"


class Image:
    """Built in a store of its own.

    Args:
        folder: of the store.
        base: root folder of the base image.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self._folder = folder
        tar = folder / "base.tar"
        subprocess.run(["tar", "-C", str(base), "-cf", str(tar), "."], check=True)
        container = self._buildah("from", "scratch")
        self._buildah("add", "--quiet", container, str(tar), "/")
        self._buildah("commit", "--quiet", "--rm", container, _BASE)
        tar.unlink()
        settings, volumes = pip_settings(pip_config())
        secret = folder / "pip.conf"
        secret.write_text(settings)
        self.log = self._buildah(
            *("build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--network", "host"),
            *("--build-arg", f"BASE={_BASE}", "--secret", f"id=pip,src={secret}"),
            *(word for path in volumes for word in ("--volume", f"{path}:{path}:ro")),
            *("--tag", _NAME, str(REPOSITORY)),
        )
        #: Its file system; only to be read.
        self.root = Path(self._buildah("mount", self._buildah("from", _NAME)))

    @property
    def config(self) -> dict[str, Any]:
        """User, Env, Entrypoint, Cmd, Healthcheck and all else that a runtime acts on."""
        found: dict[str, Any] = json.loads(self._buildah("inspect", "--type", "image", _NAME))["Docker"]["config"]
        return found

    def remove(self) -> None:
        """Give everything up that is mounted."""
        self._buildah("umount", "--all")

    def _buildah(self, *words: str) -> str:
        store = ("--root", f"{self._folder}/root", "--runroot", f"{self._folder}/run", "--storage-driver", "vfs")
        told = subprocess.run(["buildah", *store, *words], check=False, capture_output=True, text=True)
        assert told.returncode == 0, f"buildah {words[0]}:\n{told.stdout[-3000:]}\n{told.stderr[-3000:]}"
        return told.stdout.strip()


def pip_config() -> str:
    """What pip on this machine is told, from wherever."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def pip_settings(listed: str) -> tuple[str, list[str]]:
    """The same as one pip.conf, and the local files and folders that it names; of an index, the folder that it is in,
    since what it lists lies beside it.

    Args:
        listed: what `pip config list` prints.
    """
    settings: Mapping[str, str] = {
        key.rpartition(".")[2]: ast.literal_eval(value)
        for key, _, value in (line.partition("=") for line in listed.splitlines())
        if value
    }
    words = [word for value in settings.values() for word in value.split()]
    paths = {word for word in words if word.startswith("/")}
    paths |= {str(Path(urlsplit(word).path).parent) for word in words if word.startswith("file://")}
    lines = [f"{key} = {value}" for key, value in settings.items()]
    return "\n".join(["[global]", *lines, ""]), sorted(path for path in paths if Path(path).exists())
