"""The certificate on real brokers: a no for each single reason, made in a vhost of its own, and a yes when it is gone.

All scenes stand side by side, since a broker's statistics are new every 5 s only.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit

import pytest

from bridge import delayed, export
from bridge.address import AmqpAddress, HttpAddress
from bridge.core import ladder
from bridge.core.certificate import Process
from bridge.core.counts import Counts
from bridge.core.route import Layout, Route
from bridge.depths import Depths, Place
from bridge.ending import Ending
from bridge.errors import Unreachable
from bridge.lab.deadline import until
from bridge.management import Management
from bridge.old_side import OldSideWatch
from bridge.remote import RemoteControl
from tests.support import wire
from tests.support.brokers import MakesVhosts, Vhosts
from tests.support.peers import Admin, Peer, Worker, as_user, message

pytestmark = [pytest.mark.functional, pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)]

#: Seconds for which nothing may have been published in these scenes.
AFTER = 4.0
#: Seconds in which a scene must be seen: statistics of both brokers, and the quiet time.
SEEN_WITHIN = 40.0


@dataclass
class Queue:
    """What `Ending` asks of a subscription."""

    queue: str
    route: Route = Route.QUORUM
    paused: bool = False
    state: str = "idle"
    in_flight: int = 0
    counts: Counts = field(default_factory=Counts)
    back_counts: Counts = field(default_factory=Counts)
    unsettled: tuple[int, int] = (0, 0)

    @property
    def terms(self) -> Any:
        return SimpleNamespace(target=self.queue)


def place(api: str, vhost: str, name: str = "source") -> Place:
    parts = urlsplit(api)
    address = HttpAddress.parse(f"{parts.scheme}://{parts.hostname}:{parts.port}")
    return Place(Management(name, address, parts.username or "", parts.password or "", True, None), vhost)


class Stage:
    """A pair of vhosts with queue `mail` on both sides, and the end of a bridge that has moved it."""

    def __init__(self, vhosts: Vhosts, folder: Path, *, after: float = AFTER) -> None:
        self.vhosts = vhosts
        self.folder = folder
        self.mail = Queue("mail")
        self.process = Process("active", 1.0)
        self.stack = ExitStack()
        self.old = self.stack.enter_context(Peer(vhosts.old.amqp))
        self.new = self.stack.enter_context(Peer(vhosts.new.amqp))
        self.old.classic("mail")
        self.new.quorum("mail")
        self.places(place(vhosts.old.api, vhosts.old.vhost), place(vhosts.new.api, vhosts.new.vhost, "target"), after)

    def places(self, old: Place | None, new: Place | None, after: float = AFTER) -> None:
        self.ending = Ending(
            Layout.TAKEOVER,
            (old, old, new),
            Depths(old, new),
            lambda: [self.mail],  # type: ignore[list-item]
            folder=self.folder,
            duplicates=lambda: 0,
            scope=lambda: (),
            after=lambda: after,
            instance="main",
        )
        self.ending.process = lambda: self.process
        self.ending.watch = None if old is None else OldSideWatch(old.api, old.vhost, "main")

    def hinders(self) -> list[str]:
        """Names of the conditions that are not met."""
        self.told = self.ending.certify()
        return [one["name"] for one in self.told["conditions"] if not one["ok"]]

    def text(self, name: str) -> str:
        return " ".join(one["text"] for one in self.told["conditions"] if one["name"] == name)


Undo = Callable[[], object]


# -- the scenes
# ---------------------------------------------------------------------------------------------------------------


def put(peer: Peer, queue: str, count: int = 1) -> None:
    body, properties = message(0)
    for _ in range(count):
        peer.channel.basic_publish("", queue, body, properties)


def standby(stage: Stage) -> Undo:
    stage.process = Process("standby", None)
    return lambda: setattr(stage, "process", Process("active", 0.0))


def route(stage: Stage) -> Undo:
    stage.mail.route = Route.LEGACY
    return lambda: setattr(stage.mail, "route", Route.QUORUM)


def waiting(stage: Stage) -> Undo:
    put(stage.old, "mail", 3)
    return lambda: stage.old.channel.queue_purge("mail")


def left_out(stage: Stage) -> Undo:
    stage.old.classic("left-out")
    put(stage.old, "left-out", 2)
    return lambda: stage.old.channel.queue_delete("left-out")


def old_ladder(stage: Stage) -> Undo:
    stage.old.classic("celery_delayed_9")
    put(stage.old, "celery_delayed_9")
    return lambda: stage.old.channel.queue_purge("celery_delayed_9")


def result(stage: Stage) -> Undo:
    stage.old.channel.queue_declare("8a4d-result", durable=True, auto_delete=True, arguments={"x-expires": 86_400_000})
    put(stage.old, "8a4d-result")
    return lambda: stage.old.channel.queue_purge("8a4d-result")


def held(stage: Stage) -> Undo:
    put(stage.old, "mail")
    holder = stage.stack.enter_context(Peer(stage.vhosts.old.amqp))
    assert until(lambda: holder.channel.basic_get("mail")[0] is not None, 5)

    def give_back() -> None:
        holder.close()
        stage.old.channel.queue_purge("mail")

    return give_back


def silent_worker(stage: Stage) -> Undo:
    """A worker that holds a task and cannot be asked whether that waits for its ETA."""

    def asks() -> AbstractContextManager[RemoteControl]:
        raise Unreachable("the workers cannot be asked")

    api, vhost = place(stage.vhosts.old.api, stage.vhosts.old.vhost)
    stage.ending.watch = OldSideWatch(api, vhost, "main", asks=asks)
    put(stage.old, "mail")
    worker = stage.stack.enter_context(Peer(stage.vhosts.old.amqp))
    worker.channel.queue_declare("celery@h1.celery.pidbox", auto_delete=True)
    for queue in ("celery@h1.celery.pidbox", "mail"):
        worker.channel.basic_consume(queue, lambda *_delivery: None)

    def end() -> None:
        worker.close()
        stage.old.channel.queue_purge("mail")

    return end


def old_worker(stage: Stage) -> Undo:
    worker = stage.stack.enter_context(Worker(stage.vhosts.old.amqp, "mail"))
    return worker.stop


def worker_elsewhere(stage: Stage) -> Undo:
    stage.old.classic("other")
    worker = stage.stack.enter_context(Worker(stage.vhosts.old.amqp, "other"))
    return worker.stop


def producer(stage: Stage, *, routed: bool) -> Undo:
    if routed:
        # It keeps nothing, and counts what comes.
        stage.old.classic("full", **{"x-max-length": 0})
    stage.old.channel.exchange_declare("tasks", "fanout", durable=True)
    if routed:
        stage.old.channel.queue_bind("full", "tasks")
    stopping = threading.Event()

    def publish() -> None:
        body, properties = message(0)
        with Peer(stage.vhosts.old.amqp) as peer:
            while not stopping.wait(0.02):
                peer.channel.basic_publish("tasks", "", body, properties)

    thread = threading.Thread(target=publish, daemon=True)
    thread.start()

    def stop() -> None:
        stopping.set()
        thread.join()

    stage.stack.callback(stop)
    return stop


def shovel(stage: Stage) -> Undo:
    api, name = Admin(stage.vhosts.old.api), f"parameters/shovel/{stage.vhosts.old.vhost}/carry"
    value = {"src-uri": "amqp://localhost:1", "src-queue": "mail", "dest-uri": "amqp://localhost:1", "dest-queue": "x"}
    api.call("PUT", name, {"value": value})
    return lambda: api.call("DELETE", name)


def quarantined(stage: Stage) -> Undo:
    stage.new.quorum("bridge.quarantine")
    put(stage.new, "bridge.quarantine", 2)
    return lambda: stage.new.channel.queue_purge("bridge.quarantine")


def exported(stage: Stage) -> Undo:
    return export.write(stage.folder, "mail", "too-large", 1, wire.task()).unlink


def unbalanced(stage: Stage) -> Undo:
    stage.mail.counts.taken += 2
    return lambda: setattr(stage.mail.counts, "taken", 0)


def stuck(stage: Stage) -> Undo:
    delayed.declare(AmqpAddress.parse(stage.vhosts.new.amqp), None)
    body, properties = message(0)
    stage.new.channel.basic_publish(*ladder.entry(1, "nobody"), body, properties)
    return lambda: stage.new.channel.queue_delete(ladder.level_name(0))


def few_rights(stage: Stage) -> Undo:
    api, vhost = Admin(stage.vhosts.old.api), stage.vhosts.old.vhost
    user = f"few-{vhost}"
    api.make_user(user, "secret-of-few", vhost, tags="management")
    new = place(stage.vhosts.new.api, stage.vhosts.new.vhost, "target")
    stage.places(place(as_user(stage.vhosts.old.api, user, "secret-of-few"), vhost), new)

    def more() -> None:
        api.drop_user(user)
        stage.places(place(stage.vhosts.old.api, vhost), new)

    return more


@dataclass(frozen=True)
class Scene:
    """A reason: what makes it, the conditions that are not met then, and words of the first one's text."""

    make: Callable[[Stage], Undo]
    hinders: tuple[str, ...]
    said: str


SCENES = {
    "a standby is asked": Scene(standby, ("daemon",), "the daemon is standby, its state was never saved"),
    "a queue is on another route": Scene(route, ("drained",), "the route quorum: it is legacy"),
    "messages wait": Scene(waiting, ("drained",), "messages that are ready in the old queue: 3"),
    "a queue was left out": Scene(left_out, ("scope",), '"left-out" 2 messages (queues.include and queues.exclude'),
    "timers wait in the old ladder": Scene(old_ladder, ("scope",), '"celery_delayed_9" 1 messages (a level of'),
    "a result was not fetched": Scene(result, ("results",), '"8a4d-result" 1'),
    "somebody holds a message": Scene(held, ("drained", "unacked"), "what it holds unacked: 1"),
    "a worker cannot be asked": Scene(
        silent_worker, ("drained", "unacked", "consumers", "seen"), "worker celery@h1 (Pika"
    ),
    "an old worker consumes": Scene(old_worker, ("drained", "consumers"), 'to stop consuming (consumer "ctag1.'),
    "a worker consumes what was left out": Scene(worker_elsewhere, ("consumers",), 'user "bridge") to stop consuming'),
    "a producer publishes": Scene(
        lambda stage: producer(stage, routed=True), ("publishers", "exchanges"), "to stop pub"
    ),
    "a producer publishes to nowhere": Scene(lambda stage: producer(stage, routed=False), ("exchanges",), '"tasks" '),
    "a shovel is there": Scene(shovel, ("transfers",), 'shovel "carry" of vhost "chost-'),
    "the quarantine is not empty": Scene(quarantined, ("quarantine",), "2 messages are in the quarantine"),
    "a message is in a file": Scene(exported, ("exported",), "1 messages are in export.folder"),
    "the books do not balance": Scene(unbalanced, ("books",), 'it does not balance for "mail" by 2'),
    "a due task stays in the ladder": Scene(stuck, ("ladder",), "celery_delayed_0 1"),
    "others cannot be seen": Scene(few_rights, ("seen",), 'user "few-chost-'),
}


@pytest.fixture
def stages(new_vhosts: MakesVhosts, tmp_path: Path) -> Iterator[Callable[[str], Stage]]:
    made: list[Stage] = []

    def make(name: str) -> Stage:
        folder = tmp_path / name.replace(" ", "-")
        made.append(Stage(new_vhosts(), folder))
        return made[-1]

    yield make
    for stage in made:
        stage.stack.close()


def wait_for(stages: dict[str, Stage], wanted: Callable[[str], list[str]]) -> dict[str, list[str]]:
    """Ask each for its certificate until it hinders what is wanted; what was otherwise when the time was over."""
    wrong = {name: ["not asked"] for name in stages}

    def all_right() -> bool:
        for name in list(wrong):
            found = stages[name].hinders()
            if found == wanted(name):
                del wrong[name]
            else:
                wrong[name] = found
        return not wrong

    until(all_right, SEEN_WITHIN)
    return wrong


def test_each_single_reason_is_a_no_and_without_it_the_answer_is_yes(stages: Callable[[str], Stage]) -> None:
    made = {name: stages(name) for name in SCENES}
    undo = {name: scene.make(made[name]) for name, scene in SCENES.items()}
    assert wait_for(made, lambda name: list(SCENES[name].hinders)) == {}
    for name, scene in SCENES.items():
        told = made[name].text(scene.hinders[0])
        assert scene.said in told, f"{name}: {told}"
        assert not made[name].told["ok"]
    for name in SCENES:
        undo[name]()
    assert wait_for(made, lambda _name: []) == {}
    for name, stage in made.items():
        assert stage.told["ok"], name
        assert stage.told["seconds"] < 10
        assert not [one for one in stage.told["conditions"] if one["age_s"] is not None and one["age_s"] > 10]


def test_without_an_api_what_cannot_be_seen_is_a_no(stages: Callable[[str], Stage]) -> None:
    stage = stages("blind")
    stage.places(None, None)
    assert stage.hinders() == [
        *("drained", "scope", "unacked", "consumers", "publishers", "exchanges", "quarantine", "ladder"),
    ]
    assert "source.api is not set" in stage.text("scope")
    assert "target.api is not set" in stage.text("quarantine")


def test_a_broker_that_is_away_is_a_no(stages: Callable[[str], Stage]) -> None:
    stage = stages("away")
    nobody = Place(Management("source", HttpAddress.parse("http://127.0.0.1:1"), "u", "p", True, None), "v")
    stage.places(nobody, nobody)
    assert "scope" in stage.hinders()
    assert "does not answer" in stage.text("scope")
    assert "who consumes in the old vhost cannot be seen" in stage.text("consumers")


@pytest.mark.long
def test_a_thousand_queues_take_less_than_ten_seconds(stages: Callable[[str], Stage]) -> None:
    stage = stages("many")
    stage.old.classic(*(f"q{number}" for number in range(1200)))
    stage.new.quorum(*(f"q{number}" for number in range(300)))
    queues = [Queue(f"q{number}") for number in range(1200)]
    stage.ending._subscriptions = lambda: queues  # type: ignore[assignment,return-value]
    assert until(lambda: stage.hinders() == [], SEEN_WITHIN), stage.told
    assert stage.told["seconds"] < 10, stage.told["seconds"]
    print(f"\n1200 queues: {stage.told['seconds']} s")


def test_what_must_stay_is_named(stages: Callable[[str], Stage]) -> None:
    stage = stages("exits")
    delayed.declare(AmqpAddress.parse(stage.vhosts.new.amqp), None)
    stage.new.channel.queue_bind("mail", ladder.DELIVERY_EXCHANGE, ladder.exit_pattern("mail"))
    stage.new.channel.queue_bind("mail", ladder.DELIVERY_EXCHANGE, "#.mail")
    stage.old.channel.queue_declare("celery@h1.celery.pidbox", auto_delete=True)
    stage.hinders()
    assert "1 of our bindings must stay on celery_delayed_delivery of the target: #.bridge:mail;" in stage.text("exits")
    assert until(lambda: stage.hinders() is not None and "celery@h1" in stage.text("workers"), 10)
