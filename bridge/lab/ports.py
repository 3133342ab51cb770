"""Free ports on the loopback interface that stay ours while a node is down."""

from __future__ import annotations

import random
import socket
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import LabError

if TYPE_CHECKING:
    from collections.abc import Collection

#: Ports that people expect a RabbitMQ of their own on.
_WELL_KNOWN = {4369, 5552, 5671, 5672, 15671, 15672, 25672}
_FIRST = 20000


def free(count: int, taken: Collection[int]) -> list[int]:
    """Return `count` ports that nobody listens on.

    They lie below the range from which the kernel gives ports to outgoing connections. From within it, a client that
    tries again and again to reach a stopped node may be given the node's own port: then it is connected to itself, and
    the node cannot come back.

    Args:
        count: how many.
        taken: ports that are promised to other labs.

    Raises:
        LabError: there are not enough.
    """
    last = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    if last < _FIRST + 1000:
        last = 61000  # a machine that gives out nearly all ports: then from among these
    candidates = [port for port in range(_FIRST, last) if port not in _WELL_KNOWN and port not in taken]
    random.shuffle(candidates)
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise LabError(f"no {count} free ports between {_FIRST} and {last} on the loopback interface")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # A listener that was closed a moment ago leaves connections in TIME_WAIT; they do not hinder RabbitMQ.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
