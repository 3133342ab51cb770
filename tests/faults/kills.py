"""kill -9 of the daemon, again and again: at full speed, and with no more to do than comes in.

No old worker is there, so whatever goes back comes to the next process, which must count it and list it by task id.
"""

from __future__ import annotations

import bisect
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from bridge.lab.deadline import until
from tests.faults.book import doubled
from tests.support.raw_amqp import RawAmqp

if TYPE_CHECKING:
    from tests.faults.book import Book
    from tests.faults.stage import Stage
    from tests.support.daemon import Status

#: Messages that a process must have moved before it is killed: it falls in full flow.
_MOVED = 500
#: Messages in the old queue below which it is filled again, and with how many: the kill must not come when all is done.
_LOW, _MORE = 6_000, 10_000
#: Second copies that one kill may make at most when nothing is waiting: at 200 messages a second.
LIVE_AT_MOST = 5


@dataclass(frozen=True)
class Kills:
    """A row of kills.

    Attributes:
        book: of all tasks.
        each: second copies that each kill made.
    """

    book: Book
    each: tuple[int, ...]

    def judged(self, most: int) -> tuple[str, ...]:
        """What breaks the promise, a sentence each.

        Args:
            most: second copies that one kill may make.
        """
        broken = [line for line in self.book.judged() if "were in flight" not in line]
        if max(self.each, default=0) > most:
            broken.append(f"a kill doubled {max(self.each)} tasks, allowed: {most} ({self.each})")
        return tuple(broken)


def at_full_speed(stage: Stage, kills: int, messages: int) -> Kills:
    """Kill while a backlog moves as fast as it can."""
    each: list[int] = []
    recovered = 0.0
    with stage.producer.held(), stage.before.away():
        # What came before is off the books, so that what is in the queues is all there is.
        stage.settle().check()
        with stage.after.away():
            stage.daemon.stop()
            stage.producer.burst(messages)
            for _ in range(kills):
                if _depth(stage.vhosts.old.amqp, stage.queue) < _LOW:
                    stage.producer.burst(_MORE)
                began = time.monotonic()
                stage.daemon.start()
                stage.daemon.wait_until(_in_full_flow, 60)
                recovered = max(recovered, time.monotonic() - began)
                stage.daemon.kill()
                each.append(_second_copies(stage) - sum(each))
            stage.daemon.start()
        return _book(stage, each, recovered)


def live(stage: Stage, kills: int) -> Kills:
    """Kill while tasks move as they come."""
    ends: list[int] = []
    recovered = 0.0
    with stage.before.away():
        for _ in range(kills):
            stage.daemon.kill()
            ends.append(stage.producer.next)
            began = time.monotonic()
            stage.daemon.start()
            stage.moves()
            recovered = max(recovered, time.monotonic() - began)
            # What came while no process ran has been moved by then, and tasks come one by one.
            assert until(lambda: _depth(stage.vhosts.old.amqp, stage.queue) == 0, 30), stage.daemon.quote()
            stage.moves()
        with stage.producer.held():
            assert stage.all_came(), stage.daemon.quote()
            each = [0] * kills
            for number in doubled(stage.before.came, stage.after.came):
                # It was in flight at the first kill after it was sent.
                each[min(bisect.bisect_right(ends, number), kills - 1)] += 1
            return _book(stage, each, recovered)


def _in_full_flow(status: Status) -> bool:
    """Whether a process moves fast, and has listed what the one before it left: nobody could read it after a kill."""
    totals = status["totals"]
    return bool(totals["moved"] >= _MOVED and totals["possible_duplicates"] >= totals["redelivered"])


def _book(stage: Stage, each: list[int], recovered: float) -> Kills:
    assert stage.all_came(), stage.daemon.quote()
    return Kills(replace(stage.settle(), recovered=recovered), tuple(each))


def _second_copies(stage: Stage) -> int:
    """How many messages more there are than were sent, when all of them are in the two queues."""
    found: list[int] = []

    def still() -> bool:
        found.append(sum(_depth(side.amqp, stage.queue) for side in (stage.vhosts.old, stage.vhosts.new)))
        return found[-1] >= len(stage.producer.sent) and found[-2:] == [found[-1]] * 2

    assert until(still, 30), f"{found[-1]} of {len(stage.producer.sent)} messages are there"
    return found[-1] - len(stage.producer.sent)


def _depth(url: str, queue: str) -> int:
    with RawAmqp(url) as amqp:
        return amqp.depth(queue)
