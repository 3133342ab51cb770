"""Who holds the unacked messages of the old queues, and how many of them wait for their ETA.

A broker tells unacked messages by channel and by queue, and not by both. A channel with one task queue holds what it
holds from that queue; what else there is goes, in this order, to

1. the workers that said themselves which ETA tasks they hold (`inspect scheduled`);
2. channels that consume the queue;
3. channels that do not: a consumer that was cancelled keeps what it was given (AMQP 0-9-1, basic.cancel).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from bridge.core.old_side import Holder, Look, is_ours, named

#: Worker to its ETA tasks by queue; those whose queue could not be told are under the empty name.
Scheduled = Mapping[str, Mapping[str, int]]


def holders(
    look: Look, workers: Mapping[str, str], instance: str, scheduled: Scheduled
) -> tuple[tuple[Holder, ...], dict[str, int]]:
    """Who holds what, and what is left of each queue that nobody explains.

    Args:
        look: at the broker.
        workers: connection to the worker whose mailbox is on it.
        instance: name of this bridge, whose own messages in flight are left out.
        scheduled: what workers said, those that answered.
    """
    books = _Books(look)
    connection_of = {worker: connection for connection, worker in workers.items()}
    for worker, counts in scheduled.items():
        books.give_to_worker(connection_of.get(worker, ""), counts)
    books.give_to_channels()
    found = []
    for (queue, connection), number in sorted(books.given.items()):
        who = named(look, connection)
        if is_ours(who, instance):
            continue
        name = workers.get(connection)
        told = None if name is None else scheduled.get(name)
        eta = None if told is None else min(number, told.get(queue, 0))
        found.append(Holder(queue, who.name, who.host, who.client, who.user, number, eta, name))
    return tuple(found), {queue: number for queue, number in books.left.items() if number > 0}


class _Books:
    """What is still to be given: by queue and by channel; and what was given."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self.left = {name: one.unacked for name, one in sorted(look.queues.items()) if one.tasks and one.unacked}
        self.free = {name: one.unacked for name, one in sorted(look.channels.items()) if one.unacked}
        self.consumed: dict[str, set[str]] = {}
        self.consuming: dict[str, list[str]] = {}
        for one in look.consumers:
            queue = look.queues.get(one.queue)
            if queue is not None and queue.tasks and one.channel in self.free:
                self.consumed.setdefault(one.channel, set()).add(one.queue)
                self.consuming.setdefault(one.queue, []).append(one.channel)
        self.channels_of: dict[str, list[str]] = {}
        for channel in self.free:
            self.channels_of.setdefault(self._connection(channel), []).append(channel)
        self.given: dict[tuple[str, str], int] = {}

    def give_to_worker(self, connection: str, counts: Mapping[str, int]) -> None:
        """Believe what a worker said."""
        for queue, number in counts.items():
            left = number
            for channel in list(self.channels_of.get(connection, ())):
                left -= self.give(channel, queue, left)

    def give_to_channels(self) -> None:
        """Give what is left, the surest first."""
        for queue, channels in self.consuming.items():
            for channel in channels:
                if len(self.consumed[channel]) == 1:
                    self.give(channel, queue)
        for queue, channels in self.consuming.items():
            for channel in channels:
                self.give(channel, queue)
        for queue in self.left:
            for channel in list(self.free) if self.left[queue] else ():
                self.give(channel, queue)

    def _connection(self, channel: str) -> str:
        return self._look.channels[channel].connection

    def give(self, channel: str, queue: str, most: int | None = None) -> int:
        """Say that a channel holds messages of a queue: as many as both still have, at most `most`."""
        number = min(self.left.get(queue, 0), self.free.get(channel, 0))
        number = number if most is None else min(number, most)
        if number > 0:
            self.left[queue] -= number
            self.free[channel] -= number
            key = queue, self._connection(channel)
            self.given[key] = self.given.get(key, 0) + number
        if not self.free.get(channel):
            self.free.pop(channel, None)
        return number


def worth_asking(found: Iterable[Holder], most: int) -> list[str]:
    """The workers that hold so much that asking them tells something, and no more than `most`.

    A worker lists every task that it holds, in one message: an answer about 100 000 of them would keep it busy.
    """
    held: dict[str, int] = {}
    for one in found:
        if one.worker is not None:
            held[one.worker] = held.get(one.worker, 0) + one.unacked
    return sorted(worker for worker, number in held.items() if 0 < number <= most)
