"""Ends a daemon whose loop is stuck, so that its supervisor starts it anew: what is unacked is back in its queues then.

1. systemd has a watchdog of its own (`bridge/notify.py`); this one is for wherever there is none, as in containers.
2. It is a thread of the system beside the loop, and it takes nothing that the loop may hold: no lock, no logger.
3. It counts its own turns, not seconds: a process that was stopped, or a machine that slept, stood still as a whole.
   What holds Python's own lock holds this thread as well; that is for the supervisor to see (`GET /livez`).
"""

from __future__ import annotations

import logging
import os
import sys
import time
from types import FrameType
from typing import Any

import gevent
from gevent import monkey

from bridge.errors import Exit

log = logging.getLogger("bridge.watchdog")

#: Looks within the time that the loop has.
LOOKS = 10
#: Seconds between two turns of the loop's side, at most.
TURN = 1.0
#: Seconds for the last line: whoever reads it may have stopped reading.
LAST_WORD = 2.0


class Watchdog:
    """Looks whether the loop turns, from `start` to `stop`.

    Args:
        seconds: for which the loop may stand still.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._turns = 0
        self._over = False
        # Of the system, whatever the names mean to the rest of the daemon.
        self._spawn: Any = monkey.get_original("_thread", "start_new_thread")
        self._lock: Any = monkey.get_original("_thread", "allocate_lock")
        self._loop = monkey.get_original("_thread", "get_ident")()
        self._ending = self._lock()
        # Made while all is well: to make one takes locks.
        self._record = log.makeRecord(log.name, logging.ERROR, "", 0, "", (), None)

    def start(self) -> None:
        """Look from now on."""
        self._ending.acquire()
        gevent.spawn(self._turn)
        self._spawn(self._watch, ())

    def stop(self) -> None:
        """Look no more."""
        self._over = True
        self._ending.release()

    def _turn(self) -> None:
        while not self._over:
            self._turns += 1
            gevent.sleep(min(TURN, self.seconds / LOOKS))

    # -- in the thread
    # --------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        seen, looks = self._turns, 0
        while not self._ending.acquire(timeout=self.seconds / LOOKS):
            if self._turns != seen:
                seen, looks = self._turns, 0
                continue
            looks += 1
            if looks >= LOOKS:
                self._end()

    def _end(self) -> None:
        frame = sys._current_frames().get(self._loop)  # noqa: SLF001  there is no other way to see another thread
        self._record.msg = (
            f"the loop has stood still for {self.seconds:g} s, in {place(frame)}: ending with exit code "
            f"{Exit.STUCK:d}, to be started anew; what is unacked goes back to its queues"
        )
        self._record.created = time.time()
        said = self._lock()
        said.acquire()
        self._spawn(self._say, (said,))
        said.acquire(timeout=LAST_WORD)
        os._exit(Exit.STUCK)

    def _say(self, said: Any) -> None:
        root = logging.getLogger()
        form = root.handlers[0].formatter if root.handlers else None
        line = (form or logging.Formatter()).format(self._record)
        # Past the logger, whose lock the loop may hold.
        os.write(sys.__stderr__.fileno() if sys.__stderr__ else 2, f"{line}\n".encode())
        if root.level == logging.DEBUG:
            import faulthandler

            faulthandler.dump_traceback(file=2)
        said.release()


def place(frame: FrameType | None) -> str:
    """Where a program is: the line, and the line of ours that called it."""
    if frame is None:
        return "an unknown place"
    inner, ours = frame, frame
    while not _ours(ours) and ours.f_back is not None:
        ours = ours.f_back
    return _line(inner) if ours is inner or not _ours(ours) else f"{_line(ours)} ({_line(inner)})"


def _ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("bridge.")


def _line(frame: FrameType) -> str:
    return f"{frame.f_globals.get('__name__', '?')}:{frame.f_lineno} {frame.f_code.co_name}"
