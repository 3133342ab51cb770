"""Who holds the state, played on a queue with a single active consumer: joins, saves, kills, deletions, rubbish."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.core.lease import Ack, Effect, Held, Lease, Met, Over, Phase, Publish, Saved
from bridge.core.state import FORMAT, Document, Holder, Identity, encode

HERE = Identity("chost", ("old:5672",), inline=False)
ELSEWHERE = Identity("other", ("old:5672",), inline=False)
AT = "2026-01-02T03:04:05+00:00"
RUBBISH = b"rubbish"
LATER = encode(Document(5, 1, Holder("h9", 9, AT, "z"), HERE, AT)).replace(
    b'"format":%d' % FORMAT, b'"format":%d' % (FORMAT + 1)
)


@dataclass
class Bridge:
    """A process, and its stay at the queue."""

    name: str
    identity: Identity = HERE
    stays: int = 0
    own: Document | None = None
    lease: Lease | None = None
    unacked: dict[int, bytes] = field(default_factory=dict)
    seen: list[Effect] = field(default_factory=list)

    @property
    def mine(self) -> Holder:
        return Holder("h", 1, AT, self.name)

    @property
    def phase(self) -> Phase | None:
        return None if self.lease is None else self.lease.phase

    def of(self, kind: type[Any]) -> list[Any]:
        return [effect for effect in self.seen if isinstance(effect, kind)]


class ControlQueue:
    """RabbitMQ's side: a quorum queue with a single active consumer."""

    def __init__(self) -> None:
        self.ready: list[bytes] = []
        self.waiting: list[Bridge] = []
        self._tags = itertools.count(1)

    def join(self, bridge: Bridge) -> None:
        bridge.stays += 1
        bridge.lease = Lease("control", bridge.mine, bridge.identity, bridge.stays, bridge.own)
        self.waiting.append(bridge)
        self.ready.append(encode(bridge.lease.knock(AT)))

    def leave(self, bridge: Bridge) -> None:
        """Its connection is gone: what it held is at the head of the queue again, and the next one is active."""
        self.waiting.remove(bridge)
        bridge.lease = None
        self.ready[:0] = bridge.unacked.values()
        bridge.unacked.clear()

    def step(self) -> bool:
        """Give one message to the active bridge; whether there was one."""
        if not self.waiting or not self.ready:
            return False
        active = self.waiting[0]
        assert active.lease is not None
        tag, body = next(self._tags), self.ready.pop(0)
        active.unacked[tag] = body
        for effect in active.lease.delivered(tag, body, AT):
            active.seen.append(effect)
            if isinstance(effect, Publish):
                self.ready.append(encode(effect.document))
            elif isinstance(effect, Ack):
                del active.unacked[effect.tag]
            elif isinstance(effect, Held):
                active.own = effect.document
            elif isinstance(effect, Over):
                active.own = None
        if active.phase is Phase.OVER:
            self.leave(active)
        return True

    def settle(self) -> None:
        while self.step():
            pass

    def save(self, bridge: Bridge, content: dict[str, Any], *, left: bool = False) -> None:
        assert bridge.lease is not None
        bridge.own = bridge.lease.save(content, AT, left=left)
        bridge.lease.saved = encode(bridge.own), bridge.own
        self.ready.append(bridge.lease.saved[0])


def held(*bridges: Bridge) -> ControlQueue:
    """A queue at which all of them are, the first one active."""
    queue = ControlQueue()
    for bridge in bridges:
        queue.join(bridge)
        queue.settle()
    return queue


def test_the_first_of_several_that_start_at_once_is_the_one() -> None:
    one, two = Bridge("1"), Bridge("2")
    queue = ControlQueue()
    queue.join(one)
    queue.join(two)
    queue.settle()
    assert (one.phase, two.phase) == (Phase.HOLDING, Phase.WAITING)
    assert one.of(Held)[0].inherited is None
    assert len(one.unacked) == 1
    assert not queue.ready


def test_a_save_comes_back_before_the_one_before_is_acked() -> None:
    one = Bridge("1")
    queue = held(one)
    queue.save(one, {"n": 1})
    assert one.lease is not None
    assert one.lease.saving
    queue.save(one, {"n": 2})
    assert queue.step()
    assert one.lease.saving  # the second one is still on its way
    queue.settle()
    assert not one.lease.saving
    assert [saved.document.content for saved in one.of(Saved)] == [{"n": 1}, {"n": 2}]
    assert len(one.unacked) == 1


def test_who_takes_over_goes_on_with_the_last_state() -> None:
    one, two = Bridge("1"), Bridge("2")
    queue = held(one, two)
    assert one.of(Met) == [Met(two.mine, "")]
    queue.save(one, {"n": 1}, left=True)
    queue.settle()
    queue.leave(one)
    queue.settle()
    ((found,),) = [[effect.inherited for effect in two.of(Held)]]
    assert (found.content, found.left, found.holder.id) == ({"n": 1}, True, "1")
    assert two.own is not None
    assert (two.own.term, two.own.content, two.own.left) == (2, {"n": 1}, False)
    assert len(two.unacked) == 1


def test_of_two_states_the_later_one_counts() -> None:
    one, two = Bridge("1"), Bridge("2")
    queue = held(one, two)
    queue.save(one, {"n": 1})  # it dies before it is given this one
    queue.leave(one)
    queue.settle()
    assert two.of(Held)[0].inherited.content == {"n": 1}


def test_our_own_state_is_taken_back_when_the_queue_lost_it() -> None:
    one, two = Bridge("1"), Bridge("2")
    queue = held(one, two)
    queue.save(one, {"n": 1})
    queue.settle()
    for bridge in (one, two):
        queue.leave(bridge)
    queue.ready.clear()
    queue.join(two)
    queue.settle()
    assert two.phase is Phase.HOLDING
    queue.join(one)
    queue.settle()
    # The knock of the one that had the state is of a later term: the other lets go, and takes it over.
    assert "took control queue" in two.of(Over)[-1].text
    assert one.phase is Phase.HOLDING
    assert one.own is not None
    assert one.own.content == {"n": 1}


def test_a_bridge_with_another_source_is_refused_and_the_state_stays() -> None:
    one, alien = Bridge("1"), Bridge("2", ELSEWHERE)
    queue = held(one, alien)
    assert one.of(Met) == [
        Met(
            alien.mine,
            "another bridge uses the instance's name (host h, pid 1, started 2026-01-02T03:04:05+00:00): "
            'its source is vhost "other", here it is "chost"',
        )
    ]
    queue.save(one, {"n": 1})
    queue.settle()
    queue.leave(one)
    queue.join(Bridge("3"))  # somebody else knocks meanwhile
    queue.settle()
    (over,) = alien.of(Over)
    assert over.text == (
        'control queue "control" belongs to another bridge (host h, pid 1, started 2026-01-02T03:04:05+00:00): '
        'its source is vhost "chost", here it is "other"'
    )
    assert "instance" in over.hint
    assert not alien.of(Held)
    three = queue.waiting[0]
    assert three.of(Held)[0].inherited.content == {"n": 1}


def test_rubbish_is_dropped_where_there_is_a_state() -> None:
    one, two = Bridge("1"), Bridge("2")
    queue = held(one, two)
    queue.save(one, {"n": 1})
    queue.ready.append(RUBBISH)
    queue.settle()
    assert one.of(Met)[-1].stray.startswith("7 bytes that are no JSON")
    queue.leave(one)
    queue.ready[:0] = [RUBBISH, RUBBISH]
    queue.settle()
    assert two.phase is Phase.HOLDING
    assert two.of(Held)[0].inherited.content == {"n": 1}
    assert [met.stray[:7] for met in two.of(Met)] == ["7 bytes", "7 bytes"]
    assert len(two.unacked) == 1


def test_rubbish_alone_is_left_where_it_is() -> None:
    one = Bridge("1")
    queue = ControlQueue()
    queue.ready.append(RUBBISH)
    queue.join(one)
    queue.settle()
    (over,) = one.of(Over)
    assert over.text == (
        'control queue "control" holds what is no state: 7 bytes that are no JSON, a state of the bridge was expected'
    )
    assert "purge" in over.hint
    assert RUBBISH in queue.ready


def test_the_state_of_a_later_version_is_not_touched() -> None:
    one = Bridge("1")
    queue = ControlQueue()
    queue.ready.append(LATER)
    queue.join(one)
    queue.settle()
    assert f"a state of format {FORMAT + 1}" in one.of(Over)[0].text
    assert "later version" in one.of(Over)[0].hint
    assert LATER in queue.ready
    # Who holds a state already does not give it up for what somebody sends.
    two = Bridge("2")
    queue = held(two)
    queue.ready.append(LATER)
    queue.settle()
    assert two.phase is Phase.HOLDING


def test_a_later_state_that_comes_on_the_way_is_not_overwritten() -> None:
    one = Bridge("1")
    queue = ControlQueue()
    queue.join(one)
    while one.phase is not Phase.TAKING:
        assert queue.step()
    queue.ready.insert(0, encode(Document(9, 1, Holder("h", 2, AT, "2"), HERE, AT, content={"n": 9})))
    queue.settle()
    assert "a later state came" in one.of(Over)[0].text
    queue.join(one)
    queue.settle()
    assert one.of(Held)[0].inherited.content == {"n": 9}


def test_what_comes_late_changes_nothing() -> None:
    one = Bridge("1")
    queue = held(one)
    first = one.own
    assert first is not None
    queue.save(one, {"n": 1})
    queue.settle()
    before = one.own
    for late in (first, replace(first, term=0), replace(first, holder=Holder("h", 2, AT, "2"))):
        queue.ready.append(encode(late))
    queue.settle()
    assert one.phase is Phase.HOLDING
    assert one.own == before
    assert list(one.unacked.values()) == [encode(before)] if before else None
    assert [met.holder.id for met in one.of(Met)] == ["2"]


def test_after_its_end_nothing_is_done_any_more() -> None:
    lease = Lease("control", Bridge("1").mine, HERE)
    assert lease.delivered(1, LATER, AT)
    assert lease.phase is Phase.OVER
    for tag, body in enumerate((encode(lease.knock(AT)), RUBBISH), 2):
        assert lease.delivered(tag, body, AT) == []


ACTS = st.lists(
    st.tuples(st.sampled_from(["join", "kill", "save", "step", "step", "step", "settle", "stray"]), st.integers(0, 2)),
    max_size=60,
)


@settings(max_examples=300)
@given(ACTS)
def test_whatever_happens_one_holds_and_no_save_that_came_back_is_lost(acts: list[tuple[str, int]]) -> None:
    bridges = [Bridge(name) for name in "abc"]
    queue, saves, last = ControlQueue(), itertools.count(1), 0
    for act, which in acts:
        bridge = bridges[which]
        if act == "join" and bridge.lease is None:
            queue.join(bridge)
        elif act == "kill" and bridge.lease is not None:
            queue.leave(bridge)
        elif act == "save" and bridge.phase is Phase.HOLDING:
            queue.save(bridge, {"n": next(saves)})
        elif act == "step":
            queue.step()
        elif act == "settle":
            queue.settle()
        elif act == "stray":
            queue.ready.append(RUBBISH)
        last = max([last, *(s.document.content["n"] for b in bridges for s in b.of(Saved) if s.document.content)])
        assert sum(bridge.phase is Phase.HOLDING for bridge in bridges) <= 1
        for bridge in bridges:
            # A state never goes back in time: what is inherited is at least what was known to be saved then.
            assert bridge.phase is not Phase.HOLDING or bridge is queue.waiting[0]
    if not queue.waiting:
        queue.join(bridges[0])
    queue.settle()
    if queue.waiting:
        active = queue.waiting[0]
        assert active.phase is Phase.HOLDING
        assert active.own is not None
        assert ((active.own.content or {}).get("n") or 0) >= last
        assert len(active.unacked) == 1
