"""The control queue on real brokers: who is active, what is kept, and what stands in the way."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import gevent
import pika
import pytest

from bridge import state
from bridge.address import HttpAddress
from bridge.amqp import Connection
from bridge.core.state import Document, Holder, Identity, decode, encode
from bridge.core.wanted import own
from bridge.errors import Refused
from bridge.lab.brokers import Side
from bridge.management import Management, path
from bridge.state import ControlQueue
from tests.support.brokers import Vhosts
from tests.support.peers import Admin, Peer, as_user
from tests.support.proxy import Proxy, Way

pytestmark = pytest.mark.functional

QUEUE = "bridge.control.main"
HERE = Identity("chost", ("old:5672",), inline=False)
ELSEWHERE = Identity("other", ("old:5672",), inline=False)


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    """Of each world the new side: 3.10, 4.0, 4.3."""
    return vhosts.new


class Bridge:
    """What of the daemon holds the state."""

    _numbers = itertools.count(1)

    def __init__(self, side: Side, *, identity: Identity = HERE, url: str = "", api: bool = True) -> None:
        self.content: dict[str, Any] = {"by": f"bridge {next(self._numbers)}"}
        self.inherited: list[Document | None] = []
        self.refused: list[Refused] = []
        self.lost: list[str] = []
        self.connection = Connection("target", [pika.URLParameters(url or side.amqp)])
        holder = Holder("here", 1, "2026-01-02T03:04:05+00:00", secrets.token_hex(4))
        management = _management(side) if api else None
        self.control = ControlQueue(
            self.connection, "main", holder, identity, lambda: self.content, management, side.vhost
        )
        self.control.on_held = self._held
        self.control.on_lost = self.lost.append
        self.control.on_refused = self.refused.append

    def _held(self, inherited: Document | None) -> None:
        self.inherited.append(inherited)
        if inherited is not None and inherited.content is not None:
            self.content = dict(inherited.content)
        self.control.taken_over()

    def start(self) -> Bridge:
        self.control.open()
        gevent.spawn(self.control.keep)
        return self

    def kill(self) -> None:
        """Its connection is lost without a word, as that of a killed process."""
        self.control._ending = True
        self.connection.abort("killed")

    def stop(self) -> None:
        self.control.leave()
        self.connection.close()

    def save(self, **content: Any) -> None:
        """Save, and wait until it is saved."""
        self.content = dict(content)
        self.control.changed()
        wait(lambda: self.saved == content)

    @property
    def saved(self) -> Mapping[str, Any] | None:
        """What was saved last; None while a save is on its way."""
        control = self.control
        return None if control._asked is not None or control._own is None else control._own.content


def _management(side: Side) -> Management:
    parameters = pika.URLParameters(side.amqp)
    credentials = parameters.credentials
    return Management(
        "target", HttpAddress.parse(side.api), credentials.username, credentials.password, verify=True, cert=None
    )


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    """Let the greenlets of the bridges run until the condition holds."""
    with gevent.Timeout(seconds):
        while not condition():
            gevent.sleep(0.005)


@pytest.fixture
def bridges(side: Side) -> Iterator[Callable[..., Bridge]]:
    made: list[Bridge] = []

    def make(**how: Any) -> Bridge:
        made.append(Bridge(side, **how))
        return made[-1]

    yield make
    for bridge in made:
        bridge.stop()


Make = Callable[..., Bridge]


def bodies(side: Side) -> list[bytes]:
    """What is in the queue when nobody is there; it is taken out."""
    with Peer(side.amqp) as peer:
        found: list[bytes] = []
        for method, properties, body in peer.channel.consume(QUEUE, inactivity_timeout=0.3):
            if method is None:
                break
            assert body == b"rubbish" or properties.delivery_mode == 2
            found.append(body)
            peer.channel.basic_ack(method.delivery_tag)
        peer.channel.cancel()
        return found


def in_queue(side: Side) -> list[Document]:
    """The states in the queue, knocks left out."""
    return [kept for kept in map(decode, bodies(side)) if kept.term]


def put(side: Side, body: bytes) -> None:
    with Peer(side.amqp) as peer:
        peer.channel.confirm_delivery()
        peer.channel.basic_publish("", QUEUE, body, mandatory=True)


def test_first_one_then_the_other_with_the_same_state(side: Side, bridges: Make):
    one = bridges().start()
    wait(lambda: one.control.held)
    assert one.inherited == [None]
    one.save(n=1)
    two = bridges().start()
    wait(two.control.told.is_set)
    assert not two.control.held
    wait(lambda: "here, pid 1" in two.control.sentence)
    assert two.control.sentence == (
        'another bridge of instance "main" is the active one: host here, pid 1, started 2026-01-02T03:04:05+00:00'
    )
    began = time.monotonic()
    one.kill()
    wait(lambda: two.control.held)
    print(f"taken over within {(time.monotonic() - began) * 1000:.0f} ms on {side.version}")
    assert two.content == {"n": 1}
    assert two.inherited[0] is not None
    assert not two.inherited[0].left
    two.stop()
    (kept,) = in_queue(side)
    assert (kept.content, kept.left, kept.term) == ({"n": 1}, True, 2)


@pytest.mark.parametrize("times", [4, pytest.param(20, marks=pytest.mark.long)])
def test_of_two_that_start_at_once_one_is_active(times: int, side: Side, new_vhosts: Callable[[], Vhosts]):
    for _ in range(times):
        fresh = new_vhosts().new
        two = [Bridge(fresh, api=False), Bridge(fresh, api=False)]
        joining = [gevent.spawn(bridge.start) for bridge in two]
        gevent.joinall(joining, raise_error=True)
        wait(lambda two=two: any(bridge.control.held for bridge in two))
        active, waiting = sorted(two, key=lambda bridge: not bridge.control.held)
        active.save(n=1)
        assert not waiting.control.held
        active.kill()
        wait(lambda waiting=waiting: waiting.control.held)
        assert waiting.content == {"n": 1}
        waiting.stop()
        assert len(in_queue(fresh)) == 1


def test_fifty_kills_in_a_row_leave_the_state(side: Side):
    active = Bridge(side, api=False).start()
    wait(lambda active=active: active.control.held)
    active.save(n=0)
    took = []
    for number in range(1, 51):
        standby = Bridge(side, api=False).start()
        began = time.monotonic()
        active.kill()
        wait(lambda standby=standby: standby.control.held)
        took.append(time.monotonic() - began)
        # The second of each three is killed before it saved anything of its own.
        assert standby.content in ({"n": number - 1}, {"n": number - 2})
        assert number % 3 == 0 or standby.content == {"n": number - 1}
        active = standby
        if number % 3 == 2:
            active.content = {"n": number}
        else:
            active.save(n=number)
    took.sort()
    print(f"{side.version}: median {took[25] * 1000:.1f} ms, worst {took[-1] * 1000:.1f} ms")
    active.stop()
    assert [kept.content for kept in in_queue(side)] == [{"n": 50}]


def test_a_bridge_with_another_source_changes_nothing(side: Side, bridges: Make):
    one = bridges().start()
    wait(lambda: one.control.held)
    one.save(n=1)
    # The API tells of a consumer some seconds after it came.
    other = bridges(identity=ELSEWHERE).start()
    wait(lambda: bool(other.refused))
    said = 'target: instance "main" is a bridge with another source or layout: host here, pid 1, started'
    assert str(other.refused[0]).startswith(said)
    with pytest.raises(Refused, match=said):
        bridges(identity=ELSEWHERE).start()
    # Without the API it finds out when it would take over.
    blind = bridges(identity=ELSEWHERE, api=False).start()
    wait(blind.control.told.is_set)
    one.kill()
    wait(lambda: bool(blind.refused))
    assert "belongs to another bridge (host here" in str(blind.refused[0])
    assert 'its source is vhost "chost", here it is "other"' in str(blind.refused[0])
    assert not blind.inherited
    blind.stop()
    two = bridges().start()
    wait(lambda: two.control.held)
    assert two.content == {"n": 1}


def test_what_is_no_state(side: Side, bridges: Make):
    one = bridges().start()
    wait(lambda: one.control.held)
    put(side, b"rubbish")
    one.save(n=1)
    assert one.control.held
    one.stop()
    in_queue(side)
    put(side, b"rubbish")
    two = bridges().start()
    wait(lambda: bool(two.refused))
    assert str(two.refused[0]) == (
        f'target: control queue "{QUEUE}" holds what is no state: '
        "7 bytes that are no JSON, a state of the bridge was expected"
    )
    two.stop()
    assert b"rubbish" in bodies(side)


def test_the_queue_is_deleted_under_it(side: Side, bridges: Make):
    one = bridges().start()
    wait(lambda: one.control.held)
    one.save(n=1)
    Admin(side.api).call("DELETE", path("queues", side.vhost, QUEUE))
    wait(lambda: bool(one.lost))
    wait(lambda: one.control.held)
    assert one.inherited == [None, None]
    one.stop()
    assert [kept.content for kept in in_queue(side)] == [{"n": 1}]


def test_a_save_that_is_refused_loses_nothing(side: Side, bridges: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "AGAIN", 0.1)
    one, two = bridges().start(), bridges()
    wait(lambda: one.control.held)
    one.save(n=1)
    # No limit makes the broker refuse what goes through the queue: its answer is put into its mouth.
    one.control._answered(2, False, taken=False)
    assert one.control.fault == "the target refused a save (basic.nack)"
    assert one.control.held
    one.save(n=2)
    assert one.control.fault is None
    two.start()
    one.kill()
    wait(lambda: two.control.held)
    assert two.content == {"n": 2}


def test_who_gets_no_save_back_lets_go(side: Side, bridges: Make, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(state, "PROOF", 1.0)
    with Proxy(side.amqp) as proxy:
        one = bridges(url=proxy.url).start()
        wait(lambda: one.control.held)
        one.save(n=1)
        proxy.deafen(Way.TO_CLIENT)
        one.content = {"n": 2}
        one.control.changed()
        wait(lambda: bool(one.lost))
        assert one.lost == [f"control queue {QUEUE} did not bring a save back within 1 s"]
        two = bridges().start()
        proxy.restore()
        one.kill()
        wait(lambda: two.control.held)
        assert two.content == {"n": 2}


def test_a_user_without_rights_is_told_which(side: Side, bridges: Make):
    api = Admin(side.api)
    api.call("PUT", "users/reader", {"password": "x", "tags": ""})
    grants: Mapping[str, str] = {"configure": "^$", "write": ".*", "read": "^$"}
    api.call("PUT", path("permissions", side.vhost, "reader"), grants)
    try:
        url = as_user(side.amqp, "reader", "x")
        with pytest.raises(Refused, match=f'control queue "{QUEUE}" cannot be used: .*(403|404)') as refused:
            bridges(url=url, api=False).start()
        assert "configure and read on queue" in refused.value.hint
        one = bridges().start()
        wait(lambda: one.control.held)
        with pytest.raises(Refused, match=rf'control queue "{QUEUE}" cannot be used: ACCESS_REFUSED .*\(403\)'):
            bridges(url=url, api=False).start()
        # Who may not declare it can use what somebody else declared.
        api.call("PUT", path("permissions", side.vhost, "reader"), {**grants, "read": QUEUE, "write": "^amq.default$"})
        two = bridges(url=url, api=False).start()
        one.kill()
        wait(lambda: two.control.held)
        two.save(n=1)
    finally:
        api.call("DELETE", "users/reader")


@pytest.mark.parametrize("given", ["classic", "as before there was a limit"])
def test_a_queue_that_was_declared_otherwise(side: Side, bridges: Make, given: str):
    arguments: dict[str, Any] = {"x-queue-type": "quorum", "x-single-active-consumer": True}
    assert dict(own("main", (3, 10))[0].arguments) == arguments
    with Peer(side.amqp) as peer:
        peer.channel.queue_declare(QUEUE, durable=True, arguments=None if given == "classic" else arguments)
    if given == "classic":
        with pytest.raises(Refused, match=r"inequivalent arg .*\(406\)"):
            bridges().start()
    else:
        one = bridges().start()
        wait(lambda: one.control.held)


def test_a_late_message_of_somebody_who_was_active_is_dropped(side: Side, bridges: Make):
    one = bridges().start()
    wait(lambda: one.control.held)
    one.save(n=1)
    put(side, encode(Document(0, 99, Holder("other", 2, "now", "x"), HERE, "now", content={"n": 99})))
    one.save(n=2)
    one.stop()
    assert [kept.content for kept in in_queue(side)] == [{"n": 2}]
