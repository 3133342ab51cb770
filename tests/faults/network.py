"""What happens to networks: connections that break, stall, crawl, or fall silent in one direction."""

from __future__ import annotations

from typing import TYPE_CHECKING

from bridge.lab.deadline import until
from tests.faults.fault import Fault, nothing
from tests.support.proxy import Way

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.faults.stage import Stage

#: Bytes after which a connection is cut: inside a frame's head, a method, a content header, a body.
_OFFSETS = (1, 5, 40, 777, 1234)
#: Bytes a second of a link that crawls: ten tasks, where two hundred come.
_CRAWL = 8_000


def _on(side: str, act: Callable[..., None]) -> Callable[[Stage], None]:
    return lambda stage: act(getattr(stage, side))


def _restored(side: str) -> Callable[[Stage], None]:
    return lambda stage: getattr(stage, side).restore()


def _cut_in_frames(side: str, way: Way) -> Callable[[Stage], None]:
    def inject(stage: Stage) -> None:
        proxy = getattr(stage, side)
        for count in _OFFSETS:
            reached = proxy.connections
            proxy.cut_after(count, way)
            assert until(lambda: proxy.connections > reached, 40), stage.daemon.quote()  # noqa: B023  asked at once
            stage.moves()

    return inject


def _of(side: str) -> list[Fault]:
    target = side == "target"
    away = f"the {side} is not connected; the old workers have the queue until it is"
    silent = (
        "no confirm comes for 3 s; the old workers have the queue, the bridge tries again"
        if target
        else "the window fills, old workers get the rest; the heartbeat ends it, what was in flight goes back"
    )
    none: frozenset[str] = frozenset()
    return [
        Fault(
            f"{side} connection cut",
            _on(side, lambda proxy: proxy.cut(refuse=True)),
            _restored(side),
            6.0,
            none,
            True,
            happens=away,
            says=f"{side} is not connected",
        ),
        Fault(
            f"{side} connection cut inside frames on the way to the {side}",
            _cut_in_frames(side, Way.TO_SERVER),
            nothing,
            0.0,
            none,
            False,
            happens="half a message is none; connected again at once",
            long=not target,
        ),
        Fault(
            f"{side} connection cut inside frames on the way from the {side}",
            _cut_in_frames(side, Way.TO_CLIENT),
            nothing,
            0.0,
            none,
            False,
            happens="half an answer is none: what it would have said is counted as possible duplicates",
            long=target,
        ),
        Fault(
            f"{side} connection stalled",
            _on(side, lambda proxy: proxy.stall()),
            _restored(side),
            6.0,
            none,
            True,
            happens=silent,
            says="no confirm from the target for " if target else "",
            long=not target,
        ),
        Fault(
            f"{side} does not hear the bridge",
            _on(side, lambda proxy: proxy.deafen(Way.TO_SERVER)),
            _restored(side),
            6.0,
            none,
            True,
            happens=silent,
            long=True,
            says="no confirm from the target for " if target else "",
        ),
        Fault(
            f"the bridge does not hear the {side}",
            _on(side, lambda proxy: proxy.deafen(Way.TO_CLIENT)),
            _restored(side),
            6.0,
            none,
            True,
            happens=silent,
            says="no confirm from the target for " if target else "",
        ),
        Fault(
            f"{side} connection crawls",
            _on(side, lambda proxy: proxy.trickle(_CRAWL)),
            _restored(side),
            6.0,
            none,
            True,
            happens="the window fills and the old workers get the rest; what goes through goes through",
            long=True,
        ),
    ]


FAULTS = (*_of("target"), *_of("source"))
