"""What a service manager would make of what a daemon tells; a real one tells it in tests/e2e/test_rehearse.py."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from bridge.lab.deadline import until
from bridge.lab.notified import ALLOWED, Listener, Told, judge, reloaded

PID = 77
#: A daemon that does everything right: started at 100, SIGHUP at 120, SIGTERM at 130.
GOOD = [
    (101.5, "READY=1\nSTATUS=active: 0 of 2 queues moving, 0 faulted"),
    (106.0, "WATCHDOG=1\nSTATUS=active: 1 of 2 queues moving, 0 faulted"),
    (111.0, "WATCHDOG=1\nSTATUS=active"),
    (116.0, "WATCHDOG=1\nSTATUS=active"),
    (120.1, "RELOADING=1\nMONOTONIC_USEC=120050000"),
    (120.4, "READY=1\nSTATUS=active"),
    (121.0, "WATCHDOG=1\nSTATUS=active: 2 of 2 queues moving, 0 faulted"),
    (130.1, "STOPPING=1"),
]


def told(*story: tuple[float, str], pid: int = PID) -> list[Told]:
    return [Told(at, pid, text) for at, text in story]


def without(word: str) -> list[Told]:
    return told(*((at, text) for at, text in GOOD if not text.startswith(word)))


def test_a_daemon_that_does_everything_right() -> None:
    found = judge(told(*GOOD), PID, 100.0, 120.0)
    assert found.faults == []
    assert (found.ready, found.signs, found.longest) == (1.5, 4, pytest.approx(9.1))
    assert found.reload == pytest.approx(0.4)
    assert found.status == "active: 2 of 2 queues moving, 0 faulted"


@pytest.mark.parametrize(
    ("story", "faults"),
    [
        (without("READY"), ["READY never came: systemctl start", "the READY that ends a reload never came"]),
        (without("STOPPING"), ["STOPPING never came"]),
        (without("RELOADING"), ["the READY that ends a reload never came"]),
        (without("WATCHDOG"), ["28.6 s without a sign of life, 10 s allowed", "no sign of life ever came"]),
        ([], ["READY never", "STOPPING never", "the READY that ends", "no STATUS"]),
        (told(*GOOD, pid=5)[:1] + told(*GOOD), ["process 5 spoke, the daemon is 77"]),
        (
            told(*((at, text.replace("=120050000", "=119000000")) for at, text in GOOD)),
            ["RELOADING without the clock of its moment"],
        ),
        (told(*((at, text.partition("\n")[0]) for at, text in GOOD)), ["RELOADING without the clock", "no STATUS"]),
    ],
)
def test_what_systemd_would_act_on_is_a_fault(story: list[Told], faults: list[str]) -> None:
    found = judge(story, PID, 100.0, 120.0).faults
    assert len(found) == len(faults), found
    for told_of, fault in zip(found, faults, strict=True):
        assert told_of.startswith(fault)


def test_a_reload_ends_with_the_ready_after_its_beginning() -> None:
    assert reloaded(told(*GOOD), 120.0) == 120.4
    assert reloaded(told(*GOOD[:5]), 120.0) is None
    assert reloaded(told(*GOOD), 125.0) is None
    assert judge(told(*GOOD), PID, 100.0, None).reload is None


def test_it_listens_as_systemd_does(tmp_path: Path) -> None:
    listener = Listener(tmp_path / "notify")
    assert listener.environment == {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(int(ALLOWED * 1e6))}
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.sendto(b"READY=1", str(tmp_path / "notify"))
        assert until(lambda: len(listener.told) == 1, 5)
        daemon.sendto(b"STOPPING=1", str(tmp_path / "notify"))
    assert [(one.pid, one.text) for one in listener.end()] == [(os.getpid(), "READY=1"), (os.getpid(), "STOPPING=1")]
    assert not (tmp_path / "notify").exists()
