"""`bridge status --watch` on a terminal beside a real daemon that goes and comes back."""

from __future__ import annotations

import io
import math
import os
import pty
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from bridge import status_view
from bridge.lab.deadline import until
from bridge.status_watch import Watch, asking
from tests.support.brokers import Vhosts
from tests.support.daemon import Daemon, running, takeover
from tests.support.peers import Peer
from tests.support.pictures import svg

pytestmark = [pytest.mark.e2e, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

IMAGE = Path(__file__).parents[2] / "docs" / "images" / "status.svg"


class Terminal:
    """A program on a terminal of 80 by 24, and what it printed."""

    def __init__(self, *command: str) -> None:
        self._ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
        os.close(theirs)
        self.printed = ""
        self._thread = threading.Thread(target=self._read)
        self._thread.start()

    def _read(self) -> None:
        try:
            while chunk := os.read(self._ours, 65536):
                self.printed += chunk.decode(errors="replace")
        except OSError:  # EIO: the other end is closed
            pass

    @property
    def last(self) -> str:
        """The last whole picture, without colours."""
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "\n", self.printed[-6000:].rpartition("\x1b[H")[2])

    def sees(self, text: str, seconds: float = 20) -> bool:
        """Whether it prints a text from now on."""
        begun = len(self.printed)
        return until(lambda: text in self.printed[begun:], seconds)

    def end(self) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(20)
        os.close(self._ours)
        self._thread.join(5)
        return code


@contextmanager
def watching(daemon: Daemon) -> Iterator[Terminal]:
    terminal = Terminal(sys.executable, "-m", "bridge", "-c", str(daemon.file), "status", "--watch=0.2")
    try:
        yield terminal
    finally:
        if terminal.process.poll() is None:
            terminal.process.kill()
            terminal.process.wait()


def test_a_watch_outlives_the_daemon(vhosts: Vhosts, tmp_path: Path):
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail", "nowhere")
        new.quorum("mail")
        old.publish("mail", range(20))
        config = takeover(vhosts, tmp_path, route="quorum")
        with running(config, tmp_path) as daemon:
            daemon.wait_until(lambda status: status["totals"]["moved"] == 20)
            with watching(daemon) as terminal:
                assert terminal.sees("mail"), terminal.printed
                assert "nowhere" in terminal.printed
                daemon.kill()
                assert terminal.sees("the daemon does not answer since "), terminal.printed
                assert terminal.sees("mail"), "what was known stays"
                with running(config, tmp_path):
                    assert until(lambda: "does not answer" not in terminal.last and "mail" in terminal.last, 30), (
                        terminal.last
                    )
                    code = terminal.end()
    assert code == 0
    assert "\x1b[?1049l" in terminal.printed, "the screen is as it was before"
    assert "mail" in terminal.printed.rpartition("\x1b[?1049l")[2], "with the last picture on it"
    assert "Traceback" not in terminal.printed


@pytest.mark.long
def test_a_verb_is_waited_for(vhosts: Vhosts, tmp_path: Path):
    def bridge(*words: str) -> str:
        command = [sys.executable, "-m", "bridge", "-c", str(daemon.file), *words, "--wait", "--timeout", "2m"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=150)
        assert done.returncode == 0, done.stderr
        return done.stdout

    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic("mail")
        new.quorum("mail")
        old.publish("mail", range(500))
        with running(takeover(vhosts, tmp_path), tmp_path) as daemon:
            assert "through after " in bridge("cutover", "mail")
            assert (old.ready("mail"), new.ready("mail")) == (0, 500)
            assert "through after " in bridge("rollback", "mail", "--reverse")
            assert until(lambda: (old.ready("mail"), new.ready("mail")) == (500, 0), 5)
            assert "through after " in bridge("rollback", "mail")


@pytest.mark.skipif(
    not os.environ.get("BRIDGE_SCREENSHOTS"), reason="`make screenshots` makes the pictures of the docs"
)
@pytest.mark.timeout(300)
def test_the_picture_of_the_docs(vhosts: Vhosts, tmp_path: Path):
    names = ("celery", "mail", "reports.daily", "images")
    with Peer(vhosts.old.amqp) as old, Peer(vhosts.new.amqp) as new:
        old.classic(*names, "invoices")
        new.quorum(*names)
        for minutes, count in ((3, 40), (30, 300), (600, 120), (3000, 30)):
            eta = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
            old.publish("mail", range(count), eta=eta)
        for name, count in (("celery", 5000), ("mail", 2200), ("reports.daily", 900)):
            old.publish(name, range(count))
        settings = [{"match": "images", "route": "legacy"}]
        config = takeover(vhosts, tmp_path, route="quorum", queues={"settings": settings}, probe={"every": "5s"})
        with running(config, tmp_path) as daemon:
            watch = Watch(asking(daemon.socket), 1.0, lambda told: status_view.chosen(told, (), None))
            begun, looks = time.monotonic(), 0

            def night() -> bool:
                """Half a second of it; whether it was long enough."""
                nonlocal looks
                if time.monotonic() < begun + looks / 2:
                    return False
                wave = 1 + math.sin(looks / 5)
                for name, rate in (
                    ("celery", 30 + 70 * wave),
                    ("mail", 70 - looks / 2),
                    ("reports.daily", 8 + 12 * wave),
                ):
                    daemon.ask("rate", name, rate=f"{rate:.0f}/s")
                    old.publish(name, range(round(rate * wave / 10)))
                looks += 1
                watch.look()
                return looks > 80

            assert until(night, 120)
            console = Console(record=True, width=110, height=40, file=io.StringIO(), force_terminal=True)
            for line in watch.picture(console):
                console.print(line)
    IMAGE.parent.mkdir(exist_ok=True)
    IMAGE.write_text(svg(console, "bridge status --watch"))
