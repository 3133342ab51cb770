"""Ports are free, different, and out of the way of what the kernel gives to clients."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from bridge.errors import LabError
from bridge.lab import ports


def test_ports_are_free_and_below_those_of_outgoing_connections():
    found = ports.free(20, taken=())
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert len(set(found)) == 20
    assert first < 21000 or max(found) < first
    for port in found:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_what_is_promised_or_in_use_is_not_given(monkeypatch: pytest.MonkeyPatch):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        used = listener.getsockname()[1]
        monkeypatch.setattr(ports, "_FIRST", used)
        monkeypatch.setattr(ports.random, "shuffle", lambda _candidates: None)
        found = ports.free(3, taken={used + 1})
    assert used not in found
    assert used + 1 not in found


def test_too_many_are_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ports, "_is_free", lambda _port: False)
    with pytest.raises(LabError, match="no 3 free ports"):
        ports.free(3, taken=())
