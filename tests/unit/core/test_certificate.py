"""The certificate: yes when nothing hinders, and a no for each single thing that does."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bridge.core.audit import Drained
from bridge.core.books import Books, Gap
from bridge.core.certificate import (
    Condition,
    Facts,
    Ladder,
    Number,
    Process,
    Received,
    Transfer,
    as_json,
    certificate,
    certified,
)
from bridge.core.old_side import Consumer, Flow, Holder, OldSide, Publisher
from bridge.core.route import Layout
from bridge.core.topology import Queue

AT = datetime(2030, 1, 1, tzinfo=UTC)


def queue(name: str, **changed: object) -> Queue:
    given = {
        "type": "classic",
        "durable": True,
        "exclusive": False,
        "auto_delete": False,
        "arguments": {},
        "policy": {},
    }
    return Queue(name, **{**given, **changed})  # type: ignore[arg-type]


def queues(*more: Queue) -> dict[str, Queue]:
    return {one.name: one for one in (queue("mail"), queue("orders"), *more)}


OURS = Consumer("mail", "c0", "10.0.0.9:1", "bridge main source", "bridge", "bridge-1", ours=True, priority=1000)
THEIRS = Consumer("mail", "c1", "10.0.0.1:4", "", "shop", "None4", ours=False, priority=0, worker="celery@h1")
HOLDER = Holder("mail", "c1", "10.0.0.1:4", "", "shop", 3, 2, "celery@h1")
PUBLISHER = Publisher("", "c2", "10.0.0.2:5", "web", "shop", 4.0)
OLD = OldSide(AT, consumers=(OURS,))
FINISHED = Facts(
    Layout.TAKEOVER,
    "chost",
    Process("active", 3.0),
    queues=queues(),
    age=1.0,
    scope=frozenset(("mail", "orders")),
    drained=(Drained("mail", True, ()), Drained("orders", True, ())),
    old=OLD,
    old_age=1.0,
    received=(),
    watched=301.0,
    after=300.0,
    connections=(),
    books={"mail": Books(5, 3, 1, 0, 1), "orders": Books()},
    ladder=Ladder(waiting=7, stuck={3: 0}, exits=("mail", "orders")),
    transfers=(),
)


def found(facts: Facts, name: str) -> Condition:
    [one] = [one for one in certificate(facts) if one.name == name]
    return one


def test_it_is_yes_when_nothing_hinders() -> None:
    conditions = certificate(FINISHED)
    assert certified(conditions), [one for one in conditions if not one.ok]
    assert [one.name for one in conditions] == [
        *("daemon", "drained", "scope", "results", "unacked", "workers", "consumers", "publishers", "exchanges"),
        *("transfers", "quarantine", "exported", "books", "ladder", "exits", "duplicates", "revoked"),
    ]
    assert not [one for one in conditions if one.todo and not one.note]
    told = as_json(conditions)
    assert told["ok"] is True
    assert told["conditions"][1] == {
        "name": "drained",
        "ok": True,
        "number": 0,
        "age_s": 1.0,
        "text": "2 of 2 queues in scope are drained",
        "todo": "",
        "note": False,
    }
    assert found(FINISHED, "books").text == (
        "5 taken = 3 confirmed + 1 quarantined + 0 exported + 1 given back + 0 in flight"
    )
    assert "#.bridge:mail, #.bridge:orders" in found(FINISHED, "exits").text


@pytest.mark.parametrize(
    ("name", "changed", "number", "said"),
    [
        ("daemon", {"process": Process("standby", 3.0)}, None, "the daemon is standby, its state was saved 3 s ago"),
        ("daemon", {"process": Process("active", None)}, None, "its state was never saved"),
        ("daemon", {"process": Process("active", 60.0, "gone")}, None, "saved 60 s ago and cannot be saved: gone"),
        (
            "drained",
            {"drained": (Drained("mail", False, ("the route quorum: it is legacy", "b")), Drained("orders", True, ()))},
            1,
            '1 of 2 queues in scope are drained; waiting: "mail" for the route quorum: it is legacy (and 1 more)',
        ),
        (
            "drained",
            {"drained": (Drained("mail", False, ("b",)),)},
            1,
            '0 of 1 queues in scope are drained; waiting: "mail" for b',
        ),
        ("scope", {"queues": queues(queue("left", ready=2))}, 2, '"left" 2 messages (queues.include and queues.excl'),
        ("scope", {"queues": queues(queue("q", type="quorum", ready=1))}, 1, "only classic queues are moved"),
        ("scope", {"queues": queues(queue("w@h.dq2", ready=1))}, 1, "tasks for one worker by name"),
        ("scope", {"queues": queues(queue("celery_delayed_3", ready=1))}, 1, "a level of the ladder"),
        ("results", {"queues": queues(queue("8a4d", auto_delete=True, ready=4))}, 4, '"8a4d" 4'),
        ("results", {"queues": queues(queue("8a4d", arguments={"x-expires": 9}, ready=4))}, 4, '"8a4d" 4'),
        ("results", {"queues": queues(queue("8a4d", policy={"expires": 9}, ready=4))}, 4, '"8a4d" 4'),
        ("results", {"queues": queues(queue("8a4d", exclusive=True, ready=4))}, 4, '"8a4d" 4'),
        ("unacked", {"queues": {"mail": queue("mail", unacked=3)}}, 3, 'unacked messages in the old vhost: "mail" 3'),
        (
            "unacked",
            {"queues": {"mail": queue("mail", unacked=3)}, "old": replace(OLD, holders=(HOLDER,))},
            3,
            'worker celery@h1 (from 10.0.0.1:4, user "shop") to finish or give back what it holds unacked: 3',
        ),
        ("consumers", {"old": replace(OLD, consumers=(OURS, THEIRS))}, 1, 'worker celery@h1 (from 10.0.0.1:4, user "'),
        ("publishers", {"old": replace(OLD, flows=(Flow(None, {"x": 4.0}, (PUBLISHER,)),))}, 1, 'connection "c2" (web'),
        ("seen", {"old": replace(OLD, unknown=("channels: not told",))}, None, "everything cannot be seen: channels"),
        ("exchanges", {"received": (Received("tasks", 12.0),)}, 1, '"tasks" 12 s ago; 300 s without one are wanted'),
        ("exchanges", {"received": (Received("", 12.0),)}, 1, "the default exchange 12 s ago"),
        ("exchanges", {"watched": 299.0}, None, "exchanges are watched for 299 s, 300 s are wanted"),
        ("exchanges", {"received": None}, None, "cannot be seen: not looked at yet"),
        ("transfers", {"transfers": (Transfer("shovel", "s1", "chost"),)}, 1, 'shovel "s1" of vhost "chost"'),
        ("quarantine", {"quarantine": Number(2, 1.0)}, 2, "2 messages are in the quarantine on the target"),
        ("quarantine", {"quarantine": Number(None, 0.0, "no API")}, None, "the target cannot be seen: no API"),
        ("exported", {"exported": Number(1)}, 1, "1 messages are in export.folder"),
        ("exported", {"exported": Number(None, fault="denied")}, None, "export.folder cannot be seen: denied"),
        ("books", {"books": {"mail": Books(5, 3)}}, 1, 'does not balance for "mail" by 2'),
        ("ladder", {"ladder": Ladder(40, {3: 32, 5: 1})}, 33, "celery_delayed_3 32, celery_delayed_5 1; 32 stop"),
        ("ladder", {"ladder": Ladder(fault="no answer")}, None, "the target's ladder cannot be seen: no answer"),
        ("ladder", {"ladder": None}, None, "target.api is not set"),
    ],
)
def test_each_single_thing_is_a_no(name: str, changed: dict[str, object], number: int | None, said: str) -> None:
    facts = replace(FINISHED, **changed)  # type: ignore[arg-type]
    one = found(facts, name)
    assert (one.ok, one.number, one.note) == (False, number, False)
    assert said in one.text
    assert one.todo
    assert [other.name for other in certificate(facts) if not other.ok] == [name]


def test_what_cannot_be_seen_at_all_is_a_no() -> None:
    facts = replace(FINISHED, queues=None, fault="source.api is not set", old=None, received=None)
    wrong = {one.name: one for one in certificate(facts) if not one.ok}
    assert list(wrong) == ["scope", "unacked", "consumers", "publishers", "exchanges"]
    assert wrong["scope"].text == "the queues of the old vhost cannot be seen: source.api is not set"
    assert wrong["consumers"].text == "who consumes in the old vhost cannot be seen: not looked at yet"
    assert found(facts, "drained").age_s is None


@pytest.mark.parametrize(
    ("name", "changed", "number", "said"),
    [
        ("books-gaps", {"gaps": (Gap(1.0, 5.0), Gap(6.0, 8.0))}, 2, "2 gaps of 6 s in all"),
        ("duplicates", {"duplicates": 3}, 3, "3 tasks may have run twice"),
        ("transfers", {"transfers": None, "transfers_fault": "no right"}, None, "cannot be seen: no right"),
        ("connections", {"connections": ("a", "b")}, 2, "2 connections that are not ours are open in the vhost: a, b"),
        ("ingress", {"layout": Layout.INLINE}, None, "the source vhost stays for as long as producers publish there"),
        ("ingress", {"layout": Layout.INLINE, "ingress": Number(4, 1.0)}, 4, "(4 messages wait there)"),
        ("ingress", {"layout": Layout.INLINE, "ingress": Number(None)}, None, "producers publish there"),
        ("backup", {"queues": queues(queue("bridge.backup", type="stream", ready=9))}, 9, "deleted with it (9 copies)"),
        ("workers", {"queues": queues(queue("celery@h1.shop.pidbox", unacked=1))}, 1, "still connected: celery@h1"),
        ("workers", {"queues": queues(queue("celeryev.1", ready=5))}, 0, "1 queues for events are left"),
        ("workers", {"queues": queues(queue("1.reply.celery.pidbox"))}, 0, "no old worker has a mailbox"),
    ],
)
def test_what_hinders_nothing_is_a_note(name: str, changed: dict[str, object], number: int | None, said: str) -> None:
    facts = replace(FINISHED, **changed)  # type: ignore[arg-type]
    one = found(facts, name)
    assert (one.ok, one.note, one.number) == (True, True, number)
    assert said in one.text
    assert certified(certificate(facts))


def test_the_probe_passes_by() -> None:
    passing = queue("bridge.probe", ready=1, unacked=1, arguments={"x-expires": 86400000})
    received = (Received("bridge.probe", 1.0),)
    plain = certificate(FINISHED)
    assert certificate(replace(FINISHED, queues=queues(passing), received=received)) == plain
    assert certified(plain)


def test_exchanges_that_workers_use_among_themselves_do_not_count() -> None:
    received = tuple(
        Received(name, 1.0) for name in ("celeryev", "celery.pidbox", "reply.celery.pidbox", "bridge.backup")
    )
    assert certified(certificate(replace(FINISHED, received=received)))
    assert certified(certificate(replace(FINISHED, received=(Received("tasks", 300.0),))))


def test_inline_the_producers_of_the_source_hinder_nothing() -> None:
    old = replace(OLD, flows=(Flow(None, {"x": 4.0}, (PUBLISHER,)),))
    conditions = certificate(replace(FINISHED, layout=Layout.INLINE, old=old))
    assert certified(conditions)
    assert "publishers" not in {one.name for one in conditions}


def test_what_the_daemon_says_of_itself() -> None:
    saved = {"saved_at": "2030-01-01T00:00:00+00:00", "fault": None}
    assert Process.of("active", saved, AT + timedelta(seconds=4)) == Process("active", 4.0)
    assert Process.of("active", saved, AT - timedelta(seconds=4)) == Process("active", 0.0), "another machine's clock"
    assert Process.of("standby", {"saved_at": None, "fault": "gone"}, AT) == Process("standby", None, "gone")


def test_without_an_exit_of_ours_nothing_must_stay() -> None:
    assert "exits" not in {one.name for one in certificate(replace(FINISHED, ladder=Ladder()))}


def test_of_queues_without_messages_the_names_are_shown() -> None:
    assert (
        '1 others may hold tasks: "left" 0 messages'
        in found(replace(FINISHED, queues=queues(queue("left"))), "scope").text
    )
