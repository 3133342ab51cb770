"""Tells systemd the truth: ready, reloading, stopping, still alive (sd_notify(3)); without systemd, nothing."""

from __future__ import annotations

import contextlib
import os
import socket
import time


class Notify:
    """Sends to the socket that systemd named when it started us."""

    def __init__(self, environ: dict[str, str] | None = None) -> None:
        given = os.environ if environ is None else environ
        path = given.get("NOTIFY_SOCKET", "")
        # An abstract socket's name begins with a null byte, which systemd writes as @ (unix(7)).
        self._path = "\0" + path[1:] if path.startswith("@") else path
        limit = given.get("WATCHDOG_USEC", "")
        ours = given.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        #: Seconds between two signs of life: half of what systemd allows; None when it wants none.
        self.watchdog = int(limit) / 2_000_000 if limit.isdigit() and int(limit) and ours else None

    def _send(self, text: str) -> None:
        if not self._path:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
            out.sendto(text.encode(), self._path)

    def ready(self, status: str) -> None:
        """The configuration is in force."""
        self._send(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """A reload began; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """The end began."""
        self._send("STOPPING=1")

    def alive(self, status: str) -> None:
        """The loop turns."""
        self._send(f"WATCHDOG=1\nSTATUS={status}")
