from __future__ import annotations

import os
import re
import secrets
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.notify import Notify


@pytest.fixture(params=["file", "abstract"])
def systemd(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """systemd's end: the name it would set, and the socket."""
    word = f"@bridge-{secrets.token_hex(8)}"
    name, address = (word, "\0" + word[1:]) if request.param == "abstract" else (str(tmp_path / "notify"),) * 2
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(address)
        end.settimeout(5)
        yield name, end


def test_every_word_is_one_datagram(systemd: tuple[str, socket.socket]):
    name, end = systemd
    notify = Notify({"NOTIFY_SOCKET": name})
    notify.ready("active: 1 of 2 queues moving, 0 faulted")
    assert end.recv(4096) == b"READY=1\nSTATUS=active: 1 of 2 queues moving, 0 faulted"
    notify.alive("active")
    assert end.recv(4096) == b"WATCHDOG=1\nSTATUS=active"
    notify.stopping()
    assert end.recv(4096) == b"STOPPING=1"


def test_a_reload_carries_the_monotonic_clock(systemd: tuple[str, socket.socket]):
    """sd_notify(3): Type=notify-reload tells an old READY from a new one by it."""
    name, end = systemd
    before = time.monotonic_ns() // 1000
    Notify({"NOTIFY_SOCKET": name}).reloading()
    said = re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=(\d+)", end.recv(4096))
    assert said is not None
    assert before <= int(said[1]) <= time.monotonic_ns() // 1000


def test_without_systemd_nothing_happens(tmp_path: Path):
    Notify({}).ready("")
    Notify({"NOTIFY_SOCKET": str(tmp_path / "nobody")}).ready("")


@pytest.mark.parametrize(
    ("environ", "seconds"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "30000000"}, 15.0),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": str(os.getpid())}, 0.25),
        ({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_a_sign_of_life_is_due_at_half_of_what_systemd_allows(environ: dict[str, str], seconds: float | None):
    assert Notify(environ).watchdog == seconds
