from __future__ import annotations

from bridge.standstill import gravity, stalled, stands
from tests.support.statuses import queue


def test_what_should_move_and_does_not_stands_still_and_so_does_what_is_paused() -> None:
    paused = queue("q", state="paused", paused=True)
    assert [
        stalled(queue("q", state=state)) for state in ("waiting", "throttled", "faulted", "moving", "idle", "done")
    ] == [
        *(True, True, True),
        *(False, False, False),
    ]
    assert stands(paused)
    assert not stalled(paused)
    assert not stands(queue("q", state="idle"))


def test_the_gravest_comes_first_and_what_is_left_alone_last() -> None:
    listed = [queue(state, state=state) for state in ("idle", "moving", "throttled", "faulted", "waiting", "standby")]
    listed.append(queue("paused", state="faulted", paused=True))
    assert [one["name"] for one in sorted(listed, key=gravity)] == [
        *("faulted", "waiting", "throttled", "paused", "moving"),
        *("idle", "standby"),
    ]
