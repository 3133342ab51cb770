"""The rehearsal as the daemon's service manager: what it is told on the notify socket, and whether that is the truth.

The protocol is sd_notify(3)'s. What systemd would act on is checked as systemd would: who speaks (NotifyAccess=main),
that a start and a reload end, that a reload carries the clock (Type=notify-reload), that the signs of life come in
time, and that the end is told.
"""

from __future__ import annotations

import re
import select
import socket
import struct
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

#: Seconds within which a sign of life has to come; it is due at half of it.
ALLOWED = 10.0
#: pid, uid, gid of the sender (unix(7), SCM_CREDENTIALS).
_CREDENTIALS = struct.Struct("3i")
_LARGEST = 4096
_RELOADING = re.compile(r"RELOADING=1\nMONOTONIC_USEC=(\d+)")


@dataclass(frozen=True)
class Told:
    """One datagram: when it came (monotonic seconds), which process sent it, and its text."""

    at: float
    pid: int
    text: str


@dataclass(frozen=True)
class Protocol:
    """What the service manager was told.

    Attributes:
        ready: seconds from the start of the process to READY; None when it never came.
        reload: seconds from SIGHUP to the READY that ends the reload; None when none was asked for, or it never came.
        signs: signs of life.
        longest: most seconds between two of them, the start and the end of the work included.
        status: its last sentence for people.
        faults: what systemd would have acted on, or waited for in vain.
    """

    ready: float | None
    reload: float | None
    signs: int
    longest: float
    status: str
    faults: list[str] = field(default_factory=list)


class Listener:
    """The service manager's end of the socket; a thread notes what comes.

    Args:
        path: of the socket that is made.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        self._socket.bind(str(path))
        self._told: list[Told] = []
        #: Written to by `end`.
        self._wake, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._listen, name="notify", daemon=True)
        self._thread.start()

    @property
    def environment(self) -> dict[str, str]:
        """What systemd sets for a daemon that it watches."""
        return {"NOTIFY_SOCKET": str(self._path), "WATCHDOG_USEC": str(int(ALLOWED * 1e6))}

    @property
    def told(self) -> list[Told]:
        """What came so far."""
        return list(self._told)

    def end(self) -> list[Told]:
        """Listen no more; everything that was sent before is in what this returns."""
        self._wake.send(b"\0")
        self._thread.join()
        for end in (self._socket, self._wake, self._woken):
            end.close()
        self._path.unlink(missing_ok=True)
        return self._told

    def _listen(self) -> None:
        while True:
            ready, _, _ = select.select([self._socket, self._woken], [], [])
            if self._socket not in ready:
                return
            text, extra, _, _ = self._socket.recvmsg(_LARGEST, socket.CMSG_SPACE(_CREDENTIALS.size))
            pids = [_CREDENTIALS.unpack(data)[0] for _, kind, data in extra if kind == socket.SCM_CREDENTIALS]
            self._told.append(Told(time.monotonic(), pids[0] if pids else 0, text.decode(errors="replace")))


def reloaded(told: Sequence[Told], after: float) -> float | None:
    """When the reload ended that was asked for at this monotonic time; None: not yet."""
    begun = False
    for one in told:
        if one.at >= after:
            begun = begun or one.text.startswith("RELOADING=1")
            if begun and one.text.startswith("READY=1"):
                return one.at
    return None


def judge(told: Sequence[Told], pid: int, started: float, reload_at: float | None) -> Protocol:
    """What a service manager would have made of it.

    Args:
        told: all that was told, from the start to the end of the process.
        pid: the daemon.
        started: when it was started, monotonic seconds.
        reload_at: when SIGHUP was sent; None: it was not.
    """
    faults = [f"process {one.pid} spoke, the daemon is {pid}" for one in told if one.pid != pid]
    ready = next((one.at for one in told if one.text.startswith("READY=1")), None)
    if ready is None:
        faults.append("READY never came: systemctl start would wait for TimeoutStartSec")
    stopping = next((one.at for one in told if one.text.startswith("STOPPING=1")), None)
    if stopping is None:
        faults.append("STOPPING never came")
    ended = None
    if reload_at is not None:
        ended = reloaded(told, reload_at)
        if ended is None:
            faults.append("the READY that ends a reload never came: systemctl reload would wait")
        faults += _wrong_clocks(told, reload_at)
    signs = [one for one in told if one.text.startswith("WATCHDOG=1")]
    moments = [*(one.at for one in signs), *(at for at in (ready, stopping) if at is not None)]
    longest = max((later - earlier for earlier, later in pairwise(sorted(moments))), default=0.0)
    if longest > ALLOWED:
        faults.append(f"{longest:.1f} s without a sign of life, {ALLOWED:.0f} s allowed: systemd would have killed it")
    if ready is not None and stopping is not None and stopping - ready > ALLOWED and not signs:
        faults.append("no sign of life ever came")
    sentences = [text for one in told if (text := one.text.partition("STATUS=")[2])]
    if not sentences:
        faults.append("no STATUS for people ever came")
    return Protocol(
        ready=None if ready is None else ready - started,
        reload=None if ended is None or reload_at is None else ended - reload_at,
        signs=len(signs),
        longest=longest,
        status=sentences[-1] if sentences else "",
        faults=faults,
    )


def _wrong_clocks(told: Sequence[Told], reload_at: float) -> list[str]:
    """Reloads that systemd would not take for one: it compares their clock with that of its own request."""
    faults = []
    for one in told:
        if one.text.startswith("RELOADING=1") and one.at >= reload_at:
            said = _RELOADING.fullmatch(one.text)
            if said is None or not reload_at <= int(said[1]) / 1e6 <= one.at:
                faults.append(f"RELOADING without the clock of its moment: {one.text!r}")
    return faults
