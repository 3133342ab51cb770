"""One daemon moves the messages of all cases from an old vhost to a new one, and everything that can be seen is kept.

1. Both ends are read as bytes. What must arrive is published beside it, straight into queues of the same kinds on the
   same broker: whatever that broker itself does to a message, it does to both.
2. A tap on the exchanges of the ladder shows what was published there, before any dead-lettering.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import requests

from bridge.core import ladder
from tests.functional.cases import Case, Lands, Message
from tests.functional.cases_content import OLD_USER
from tests.functional.ladders import Ladder, bind_as_celery, declare_ladder, exits_of, ladder_of
from tests.support.daemon import Status, queue_of, running, takeover
from tests.support.raw_amqp import Arrived, RawAmqp

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from bridge.lab.brokers import Side
    from tests.support.brokers import Vhosts, World

#: Seconds after its due time in which a message must be at its queue: a busy machine takes some.
LATE = 5.0
#: Seconds beyond that in which we still look for it, to tell late from lost.
LOST = 10.0
#: Queues of the target: what went onto the ladder, and what the broker itself makes of what must arrive.
TAP, STRAIGHT, STRAIGHT_TAP = "tap", "straight", "straight-tap"
QUORUM = {"x-queue-type": "quorum"}


@dataclass
class Seen:
    """What was seen of one case."""

    published: float = 0.0
    sent: Message | None = None
    expected: Message | None = None
    arrived: list[Arrived] = field(default_factory=list)
    tapped: list[Arrived] = field(default_factory=list)
    straight: Arrived | None = None
    straight_tap: Arrived | None = None
    status: Status = field(default_factory=dict)
    left: int = 0
    beside: dict[str, int] = field(default_factory=dict)


@dataclass
class Passage:
    """All cases in one world."""

    release: str
    seen: dict[str, Seen]
    status: Status
    #: What the bridge made of a ladder that was missing, and that after kombu's own function declared it once more.
    ladder: Ladder
    declared_again: Ladder
    #: Queues bound to the end of the ladder, with their keys.
    exits: list[tuple[str, str]]


def pass_all(world: World, vhosts: Vhosts, cases: Sequence[Case], folder: Path) -> Passage:
    """Send every case through one daemon and return what was seen.

    The daemon lives in another time zone than UTC.
    """
    release = world.name.partition("->")[2]
    user_at(vhosts.old, OLD_USER)
    config = takeover(vhosts, folder, route="quorum")
    with (
        RawAmqp(vhosts.old.amqp) as old,
        RawAmqp(vhosts.old.amqp, user=OLD_USER) as stranger,
        RawAmqp(vhosts.new.amqp) as new,
    ):
        for case in cases:
            _prepare(case, old, new, vhosts)
        with running(config, folder, environment={"TZ": "America/New_York"}) as daemon:
            daemon.wait_until(lambda status: all(queue["state"] == "moving" for queue in status["queues"]), 60)
            made, exits = ladder_of(vhosts.new), exits_of(vhosts.new)
            declare_ladder(vhosts.new, "quorum")
            seen = {case.name: Seen() for case in cases}
            passage = Passage(release, seen, {}, made, ladder_of(vhosts.new), exits)
            _tap(new)
            _publish_and_collect(cases, passage, old, stranger, new)
            passage.status = daemon.wait_until(lambda status: not status["totals"]["in_flight"])
        for case in cases:
            here = passage.seen[case.name]
            here.status = queue_of(passage.status, case.name)
            here.left = old.depth(case.name)
            here.beside = {queue: new.depth(queue) for queue in case.beside}
    return passage


def user_at(side: Side, name: str) -> None:
    """Make a user at a side's broker with the password of the lab's."""
    login, _, base = side.api.removeprefix("http://").rpartition("@")
    user, _, password = login.partition(":")
    rights = {"configure": ".*", "write": ".*", "read": ".*"}
    for path, what in (
        (f"users/{name}", {"password": password, "tags": ""}),
        (f"permissions/{quote(side.vhost, safe='')}/{name}", rights),
    ):
        answer = requests.put(f"http://{base}/api/{path}", json=what, auth=(user, password), timeout=10)
        answer.raise_for_status()


def _prepare(case: Case, old: RawAmqp, new: RawAmqp, vhosts: Vhosts) -> None:
    old.declare(case.name)
    for queue in (case.name, *case.beside):
        new.declare(queue, **QUORUM)
    if case.source is not None:
        exchange, key = case.source
        old.declare_exchange(exchange, "topic")
        old.bind(case.name, exchange, key)
    if case.bound is not None:
        exchange, kind = case.bound
        new.declare_exchange(exchange, kind)
        for queue in (case.name, *case.beside):
            new.bind(queue, exchange, queue)
    if case.celery_bound and case.bound is not None:
        new.declare_exchange(ladder.DELIVERY_EXCHANGE, "topic")
        for queue in (case.name, *case.beside):
            bind_as_celery(vhosts.new, queue, case.bound[0])


def _tap(new: RawAmqp) -> None:
    new.declare(TAP)
    new.declare(STRAIGHT_TAP)
    new.declare(STRAIGHT, **QUORUM)
    for level in range(ladder.LEVELS):
        new.bind(TAP, ladder.level_name(level), "#")
        new.bind(TAP, ladder.entry_name(level), "")


def _publish_and_collect(
    cases: Sequence[Case], passage: Passage, old: RawAmqp, stranger: RawAmqp, new: RawAmqp
) -> None:
    seen = passage.seen
    words = {ladder.exit_word(case.name): case.name for case in cases}
    for queue in (TAP, *(case.name for case in cases)):
        new.consume(queue)
    missing = {case.name for case in cases if case.lands not in (Lands.WAITS, Lands.PERHAPS)}
    missing |= {f"{TAP} {case.name}" for case in cases if case.lands is Lands.WAITS}
    begun, waiting = time.monotonic(), sorted(cases, key=lambda case: case.later)
    until = begun + LOST
    while missing or waiting:
        while waiting and begun + waiting[0].later <= time.monotonic():
            case = waiting.pop(0)
            _publish(case, seen[case.name], old if case.user is None else stranger, passage.release)
            if case.lands is not Lands.WAITS:
                until = max(until, time.monotonic() + case.due_at(time.time()) - time.time() + LATE + LOST)
        message = new.receive(min(until, begun + waiting[0].later) if waiting else until)
        if message is not None:
            missing.discard(_keep(message, seen, words))
        elif not waiting:
            break
    # What comes twice comes at once.
    while (message := new.receive(time.monotonic() + 0.5)) is not None:
        _keep(message, seen, words)
    _publish_straight(cases, seen, new)


def _publish(case: Case, seen: Seen, by: RawAmqp, release: str) -> None:
    exchange, key = case.source or ("", case.name)
    seen.published = time.time()
    seen.sent = case.make(seen.published)
    seen.expected = case.expected(seen.sent, release)
    by.publish(exchange, key, seen.sent.raw())


def _keep(message: Arrived, seen: dict[str, Seen], words: dict[str, str]) -> str:
    """Put a message to its case, and return what it was that came."""
    if message.queue != TAP:
        seen[message.queue].arrived.append(message)
        return message.queue
    name = words[message.routing_key.rpartition(".")[2]]
    seen[name].tapped.append(message)
    return f"{TAP} {name}"


def _publish_straight(cases: Sequence[Case], seen: dict[str, Seen], new: RawAmqp) -> None:
    """Publish what must arrive without the bridge: what comes out is the broker's doing alone."""
    for queue in (STRAIGHT, STRAIGHT_TAP):
        new.consume(queue)
        for case in cases:
            here = seen[case.name]
            if here.expected is None:
                continue
            new.publish("", queue, here.expected.raw())
            message = new.receive(time.monotonic() + LOST)
            if queue == STRAIGHT:
                here.straight = message
            else:
                here.straight_tap = message
