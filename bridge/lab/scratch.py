"""The target made from nothing, with the commands that an operator types: check, apply, check, the Celery settings."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.errors import Exit, LabError

#: Seconds for one command: `bridge check` looks at some things twice.
WITHIN = 120.0


class Scratch:
    """One empty target on its way to be ready.

    Args:
        file: the daemon's configuration.
        folder: where the settings go.
        tell: told each step.
    """

    def __init__(self, file: Path, folder: Path, tell: Callable[[str], None]) -> None:
        self._file = file
        self._settings = folder / "settings.py"
        self._tell = tell

    def make(self) -> Path:
        """Make everything that `bridge plan` wants, and return the file with the settings for the new workers.

        Raises:
            LabError: the empty target was no blocker, or a command ended otherwise than it has to.
        """
        self._tell("check: the target is empty")
        found = self._json(Exit.REFUSED, "check")
        self._tell(f"check: {found['blockers']} blockers")
        done = self._json(Exit.DONE, "apply")["done"]
        self._tell(f"apply: {len(done)} steps")
        self._settings.write_text(self._bridge(Exit.DONE, "plan", "--celery"))
        return self._settings

    def verify(self) -> None:
        """See that nothing is left to do and nothing in the way, with the new workers there.

        Raises:
            LabError: there is something.
        """
        found = self._json(Exit.DONE, "check")
        self._tell(f"check: {found['blockers']} blockers, {found['warnings']} warnings")
        left = self._json(Exit.DONE, "plan")["steps"]
        if left:
            raise LabError(f"`bridge apply` left {len(left)} steps", hint="\n".join(step["sentence"] for step in left))

    def _json(self, wanted: Exit, command: str) -> dict[str, Any]:
        answer: dict[str, Any] = json.loads(self._bridge(wanted, command, "--json"))
        return answer

    def _bridge(self, wanted: Exit, *arguments: str) -> str:
        command = [sys.executable, "-m", "bridge", "-c", str(self._file), *arguments]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=WITHIN)
        except subprocess.TimeoutExpired:
            raise LabError(f"`bridge {' '.join(arguments)}` did not end within {WITHIN:.0f} s") from None
        if ended.returncode != wanted:
            raise LabError(
                f"`bridge {' '.join(arguments)}` ended with {ended.returncode}, not {int(wanted)}",
                hint=(ended.stderr or ended.stdout).strip(),
            )
        return ended.stdout
