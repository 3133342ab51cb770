"""The watchdog in a process of its own, which it ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from bridge.errors import Exit
from bridge.watchdog import place

#: As the daemon has it: gevent in place of threads, and the log as it is configured.
_START = """
import sys
from gevent import monkey
monkey.patch_all()
import gevent, time
from bridge import logs
from bridge.watchdog import Watchdog
logs.set_up(sys.argv[1], "json")
watchdog = Watchdog(0.5)
watchdog.start()
print("started", flush=True)
"""
_STUCK = _START + "gevent.spawn_later(0.1, lambda: [None for _ in iter(int, 1)])\ngevent.sleep(60)"
_TURNS = _START + "gevent.sleep(1.5)\nwatchdog.stop()\nprint('through')"


@contextmanager
def program(text: str, level: str = "info", stderr: int = subprocess.PIPE) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", text, level], stdout=subprocess.PIPE, stderr=stderr, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            yield process
        finally:
            process.kill()


def test_a_loop_that_is_stuck_ends_the_process_with_one_line_that_says_where() -> None:
    with program(_STUCK) as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == Exit.STUCK
    line = json.loads(error)
    assert (line["level"], line["logger"]) == ("error", "bridge.watchdog")
    assert line["message"].startswith("the loop has stood still for 0.5 s, in __main__:")
    assert "<listcomp>: ending with exit code 4, to be started anew; what is unacked goes back" in line["message"]


def test_the_whole_traceback_is_there_at_level_debug() -> None:
    with program(_STUCK, "debug") as process:
        _, error = process.communicate(timeout=20)
    assert process.returncode == Exit.STUCK
    assert "most recent call first" in error


def test_a_reader_of_the_log_that_went_to_sleep_does_not_save_it() -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    try:
        while True:
            os.write(writing, bytes(4096))
    except BlockingIOError:
        os.set_blocking(writing, True)
    with program(_STUCK, stderr=writing) as process:
        assert process.wait(timeout=20) == Exit.STUCK
    os.close(reading)
    os.close(writing)


def test_a_loop_that_turns_or_was_stopped_as_a_whole_is_left_alone() -> None:
    with program(_TURNS) as process:
        process.send_signal(signal.SIGSTOP)
        _resume_after(process, 1.0)
        out, error = process.communicate(timeout=20)
    assert (process.returncode, out, error) == (0, "through\n", "")


def _resume_after(process: subprocess.Popen[str], seconds: float) -> None:
    """What is tested is that time passes while nothing turns."""
    time.sleep(seconds)  # noqa: TID251
    process.send_signal(signal.SIGCONT)


def test_the_place_names_our_line_and_the_one_it_called() -> None:
    def called() -> str:
        return place(sys._getframe())

    assert called().endswith(" called")
    assert place(None) == "an unknown place"
