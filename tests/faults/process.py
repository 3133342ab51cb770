"""What happens to the daemon's process: it is ended, killed, or held for longer than its peers wait."""

from __future__ import annotations

from tests.faults.fault import Fault

_NONE: frozenset[str] = frozenset()

FAULTS = (
    Fault(
        "daemon ended (SIGTERM) and started again",
        lambda stage: stage.daemon.stop(),
        lambda stage: stage.daemon.start(),
        3.0,
        _NONE,
        True,
        happens="what is in flight is finished and acked; the old workers have the queue",
    ),
    Fault(
        "daemon killed (SIGKILL) and started again",
        lambda stage: stage.daemon.kill(),
        lambda stage: stage.daemon.start(),
        3.0,
        _NONE,
        True,
        happens="what is in flight goes back to the old queue, some of it as a second copy; the old workers have it",
    ),
    Fault(
        "daemon held (SIGSTOP) for 10 s",
        lambda stage: stage.daemon.pause(),
        lambda stage: stage.daemon.resume(),
        10.0,
        _NONE,
        True,
        happens="the window fills, the old workers get the rest; what it holds goes on when it does",
    ),
    Fault(
        "daemon held (SIGSTOP) for a minute",
        lambda stage: stage.daemon.pause(),
        lambda stage: stage.daemon.resume(),
        60.0,
        _NONE,
        True,
        happens="both brokers end its connections by heartbeat, what it held goes back; it connects again",
        long=True,
    ),
)
