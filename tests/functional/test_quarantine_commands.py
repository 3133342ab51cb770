"""`bridge quarantine` on every release: what it shows, what it takes out, and what a crash of it leaves."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from bridge import cli, export
from bridge.core import properties as p
from bridge.lab.brokers import Side
from bridge.lab.deadline import until
from tests.functional.cases import Message, iso, old_json, old_task, task
from tests.functional.cases_content import TAGS
from tests.functional.test_quarantine import HOSTILE, deposit, linked, taken, wire_of
from tests.support.brokers import Vhosts
from tests.support.daemon import running, takeover
from tests.support.raw_amqp import RawAmqp

pytestmark = pytest.mark.functional

QUORUM = {"x-queue-type": "quorum"}
QUARANTINE = "bridge.quarantine"
#: Seconds within which what is due is there.
SOON = 10.0

Told = dict[str, Any]


class Operator:
    """Runs `bridge quarantine` with a configuration of its own."""

    def __init__(self, vhosts: Vhosts, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.side = vhosts.new
        self.file = folder / "bridge.yaml"
        self.exports = folder / "export"
        self.file.write_text(yaml.safe_dump(takeover(vhosts, folder)))
        self._capsys = capsys

    def __call__(self, *arguments: str, code: int = 0) -> Told:
        """The answer of a command as JSON."""
        out, err = self.said(*arguments, "--json", code=code)
        assert err == ""
        found: Told = json.loads(out)
        return found

    def said(self, *arguments: str, code: int = 0) -> tuple[str, str]:
        """What a command printed on standard output and standard error."""
        self._capsys.readouterr()
        ended = cli.main(["-c", str(self.file), "quarantine", *arguments])
        captured = self._capsys.readouterr()
        assert ended == code, captured
        return captured.out, captured.err

    def command(self, *arguments: str) -> list[str]:
        """The same as a command line."""
        return [sys.executable, "-m", "bridge", "-c", str(self.file), "quarantine", *arguments]


@pytest.fixture
def bridge(vhosts: Vhosts, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Operator:
    return Operator(vhosts, tmp_path, capsys)


@pytest.fixture
def side(vhosts: Vhosts) -> Side:
    """Of each world the new side: 3.10, 4.0, 4.3."""
    return vhosts.new


def put(side: Side, *messages: Message, queue: str = "q1", reason: str = "closes-channel") -> None:
    with linked(side) as link:
        for message in messages:
            deposit(link, message, queue, reason)


def to_file(bridge: Operator, message: Message, queue: str = "q1", reason: str = "too-large") -> Path:
    return export.write(bridge.exports, queue, reason, 1, wire_of(message.raw()))


# -- looking
# --------------------------------------------------------------------------------------------------------------


def test_25_lists_in_a_row_change_nothing(bridge: Operator, side: Side) -> None:
    put(side, *HOSTILE.values())
    to_file(bridge, task(b"file"))
    first = bridge("list")
    assert (first["total"], first["beyond"], first["unread"], first["limited"]) == (len(HOSTILE) + 1, 0, [], False)
    assert first["reasons"] == {"closes-channel": len(HOSTILE), "too-large": 1}
    for _ in range(24):
        assert bridge("list") == first
    with RawAmqp(side.amqp) as amqp:
        assert amqp.depth(QUARANTINE) == len(HOSTILE)
        amqp.consume(QUARANTINE)
        # From 4.3 on those without a priority, which count as 4, go before those with Celery's 0.
        sooner = [
            message for message in HOSTILE.values() if side.version >= "4.3" and p.PRIORITY not in message.properties
        ]
        expected = [*sooner, *(message for message in HOSTILE.values() if message not in sooner)]
        assert [taken(amqp).body for _ in HOSTILE] == [message.body for message in expected]


def test_a_row_says_what_a_message_is(bridge: Operator, side: Side) -> None:
    due = time.time() + 3600
    put(side, task(b"x" * 5, eta=iso(due)), queue="a.b")
    old = old_task(old_json(iso(due)), "application/json")
    file = to_file(bridge, old, "mail")
    [one, two] = bridge("list")["messages"]
    assert abs(one.pop("eta") - due) < 0.001
    assert one == {
        "id": one["id"],
        "where": "queue",
        "queue": "a.b",
        "reason": "closes-channel",
        "task": "shop.tasks.mail",
        "task_id": "4c1f0d5c-6a0e-4a2c-8d9a-2f1d5f3f0a11",
        "eta_unreadable": "",
        "bytes": 5,
        "time": None,
        "file": None,
    }
    assert (two["where"], two["queue"], two["task"], two["file"]) == ("file", "mail", "shop.tasks.mail", str(file))
    assert abs(two["time"] - time.time()) < 60
    out, _ = bridge.said("list", "--reason", "too-large", "--limit", "0")
    assert "0 of 1 messages are shown" in out
    assert "closes-channel 1, too-large 1" in out
    out, _ = bridge.said("list", "--queue", "a.b")
    assert one["id"] in out
    assert two["id"] not in out


def test_where_there_is_no_quarantine_none_is_made(bridge: Operator, side: Side) -> None:
    assert bridge("list")["total"] == 0
    assert "0 messages" in bridge.said("list")[0]
    assert bridge("redrive", "--all")["chosen"] == []
    with RawAmqp(side.amqp) as amqp, pytest.raises(AssertionError, match="404"):
        amqp.depth(QUARANTINE)


def test_a_message_is_shown_and_not_run(bridge: Operator, side: Side) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, ...]:
            return os.abort, ()

    evil = old_task(pickle.dumps(Evil()), "application/x-python-serialize", odd="\x1b[2J")
    put(side, evil.but(headers=TAGS))
    [listed] = bridge("list")["messages"]
    shown = bridge("show", listed["id"][:5])
    told = {row["name"]: (row["type"], row["value"]) for row in shown["properties"]}
    assert told["odd"] == ("S", "\\x1b[2J")
    assert told["content_type"] == ("shortstr", "application/x-python-serialize")
    assert {row["type"] for row in shown["properties"]} >= set("tbBsuIifdDlSxTVAF")
    assert shown["body"][0].startswith("00000000  80 0")
    out, _ = bridge.said("show", listed["id"])
    assert "\x1b" not in out
    assert "application/x-python-serialize" in out
    file = to_file(bridge, task(b'["plain"]'))
    [listed] = bridge("list", "--reason", "too-large")["messages"]
    assert bridge("show", listed["id"])["body"] == ['["plain"]']
    file.write_bytes(b"cut")
    assert "is not a message of the bridge" in bridge("list")["unread"][0]
    assert 'no message has the id "abcd' in bridge.said("show", "abcdefabcdef", code=1)[1]


def test_a_queue_with_a_limit_is_warned_of(bridge: Operator, side: Side) -> None:
    with RawAmqp(side.amqp) as amqp:
        amqp.declare(QUARANTINE, **QUORUM)
    put(side, task())
    told = bridge("list")
    assert (told["total"], told["limited"]) == (1, side.version >= "4")
    assert ("x-delivery-limit" in bridge.said("list")[1]) == (side.version >= "4")


# -- sending on
# --------------------------------------------------------------------------------------------------------------


def test_to_the_target_as_the_daemon_sends(bridge: Operator, side: Side) -> None:
    due = time.time() + 8
    messages = [task(b"due"), task(b"later", eta=iso(due)), HOSTILE["tags"], HOSTILE["no properties"]]
    put(side, *messages, queue="q1")
    to_file(bridge, task(b"file"), "q1")
    to_file(bridge, task(b"file later", eta=iso(due)), "q1")
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        new.consume("q1")
        told = bridge("redrive", "--all", "--dry-run")
        assert (len(told["chosen"]), told["done"]) == (6, 0)
        told = bridge("redrive", "--queue", "q1")
        assert told == {
            "dry_run": False,
            "to": "target",
            "chosen": 6,
            "done": 6,
            "failed": [],
            "fault": None,
            "hint": None,
        }
        arrived = [taken(new) for _ in range(6)]
        early = [each.at for each in arrived if b"later" in each.body and each.at < due - 1.1]
        assert early == []
        assert sorted(each.body for each in arrived) == sorted(
            [*(message.body for message in messages), b"file", b"file later"]
        )
        assert new.receive(time.monotonic() + 0.5) is None
        assert new.depth(QUARANTINE) == 0
    assert export.files(bridge.exports) == []
    assert bridge("list")["total"] == 0


def test_what_was_taken_out_is_out(bridge: Operator, side: Side) -> None:
    """A channel that is closed at once loses all but 32 of the acks before it."""
    put(side, task(b"first"))
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        new.publish_all(QUARANTINE, "q1.closes-channel", [task(b"again").raw()] * 200)
        assert bridge("redrive", "--all")["done"] == 201
        assert until(lambda: new.depth("q1") == 201, SOON)
        assert bridge("list")["total"] == 0


def test_to_the_source_for_the_old_workers(bridge: Operator, vhosts: Vhosts) -> None:
    later = task(b"later", eta=iso(time.time() + 3600), **TAGS)
    put(vhosts.new, later, HOSTILE["plain"], queue="q1")
    to_file(bridge, task(b"file"), "q1")
    with RawAmqp(vhosts.old.amqp) as old:
        old.declare("q1")
        assert bridge("redrive", "--all", "--to", "source")["done"] == 3
        old.consume("q1")
        found = {each.body: each for each in (taken(old) for _ in range(3))}
    assert found.keys() == {b"later", HOSTILE["plain"].body, b"file"}
    assert p.spans(bytes(12) + found[b"later"].properties).keys() == {*later.properties, p.HEADERS}
    assert found[b"file"].properties == task().raw().properties
    assert bridge("list")["total"] == 0


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_while_the_daemon_runs(bridge: Operator, vhosts: Vhosts, tmp_path: Path) -> None:
    """What goes back into the old queue comes to the bridge again."""
    put(vhosts.new, task(b"one"), task(b"two"), queue="q1")
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        old.declare("q1")
        new.declare("q1", **QUORUM)
        new.consume("q1")
        with running(takeover(vhosts, tmp_path, route="quorum"), tmp_path) as daemon:
            [one, two] = [each["id"] for each in bridge("list")["messages"]]
            assert bridge("redrive", one)["done"] == 1
            assert taken(new).body == b"one"
            assert bridge("redrive", two, "--to", "source")["done"] == 1
            assert taken(new).body == b"two"
            daemon.wait_until(lambda status: bool(status["totals"]["moved"] == 1))


def test_what_cannot_be_sent_stays(bridge: Operator, side: Side) -> None:
    put(side, task(b"one"), queue="q1")
    put(side, task(b"nowhere"), queue="gone")
    file = to_file(bridge, task(b"file"), "gone")
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        new.publish("", QUARANTINE, task(b"foreign").raw())
        told = bridge("redrive", "--all", code=1)
        assert (told["done"], len(told["failed"]), told["fault"]) == (1, 3, None)
        why = {failed["why"] for failed in told["failed"]}
        assert why == {
            'target: there is no queue "gone"',
            "which queue it is for is not known: it was not put here by the bridge",
        }
        assert (new.depth("q1"), new.depth(QUARANTINE), file.exists()) == (1, 2, True)
        out, err = bridge.said("redrive", "--queue", "gone", code=1)
        assert out == "0 of 2 messages sent to the target\n"
        assert err.count("stays: ") == 2


def test_one_of_many_and_all_of_one_content(bridge: Operator, side: Side) -> None:
    put(side, *(task(b"%d" % number) for number in range(40)), task(b"7"))
    ids = [each["id"] for each in bridge("list")["messages"]]
    assert ids.count(ids[7]) == 2
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        new.consume("q1")
        assert bridge("redrive", ids[7], ids[3])["done"] == 3
        assert sorted(taken(new).body for _ in range(3)) == [b"3", b"7", b"7"]
        assert new.depth(QUARANTINE) == 38
    left = [each["id"] for each in bridge("list")["messages"]]
    assert left == [each for each in ids if each not in (ids[3], ids[7])]


def test_copies_of_what_moved_are_sent_only_when_asked_for(bridge: Operator, side: Side) -> None:
    to_file(bridge, task(b"copy"), reason="copy-too-large")
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        assert bridge("redrive", "--all")["chosen"] == []
        assert bridge("redrive", "--queue", "q1")["chosen"] == []
        assert bridge("redrive", "--reason", "copy-too-large")["done"] == 1
        assert new.depth("q1") == 1


def test_long_names(bridge: Operator, side: Side) -> None:
    name = "ü" * 119 + "."
    put(side, task(b"long"), queue=name, reason="closes-channel")
    to_file(bridge, task(b"longer"), "x" * 255)
    with RawAmqp(side.amqp) as new:
        for queue in (name, "x" * 255):
            new.declare(queue, **QUORUM)
            new.consume(queue)
        assert {each["queue"] for each in bridge("list")["messages"]} == {name, "x" * 255}
        assert bridge("redrive", "--all")["done"] == 2
        assert sorted(taken(new).body for _ in range(2)) == [b"long", b"longer"]


# -- into files
# --------------------------------------------------------------------------------------------------------------


def test_into_files_and_out_of_the_queue(bridge: Operator, side: Side, tmp_path: Path) -> None:
    messages = [replace(message, body=b"%d" % number) for number, message in enumerate(HOSTILE.values())]
    put(side, *messages, queue="q1")
    kept = to_file(bridge, task(b"file"), "q2")
    with RawAmqp(side.amqp) as amqp:
        amqp.consume(QUARANTINE, prefetch=100)
        sent = {each.body: each.properties for each in (taken(amqp) for _ in HOSTILE)}
    copies, moved = tmp_path / "copies", tmp_path / "moved"
    assert bridge("export", "--all", "--to", str(copies))["done"] == len(HOSTILE) + 1
    assert bridge("list")["total"] == len(HOSTILE) + 1
    told = bridge("export", "--queue", "q1", "--to", str(moved), "--remove")
    assert (told["done"], told["removed"], kept.exists()) == (len(HOSTILE), True, True)
    assert bridge("list")["total"] == 1
    for folder in (copies, moved):
        found = [export.describe(file) for file in export.files(folder)]
        assert len(found) == len(HOSTILE) + (folder is copies)
        for each in found:
            if each.queue == "q1":
                assert each.reason == "closes-channel"
                assert _plain(each.header[12:]) == _plain(sent[each.body()])
    assert bridge("export", "--all", "--to", str(bridge.exports), "--remove")["chosen"] == 0
    assert kept.exists()
    (tmp_path / "file").write_text("")
    put(side, task())
    told = bridge("export", "--queue", "q1", "--to", str(tmp_path / "file" / "x"), "--remove", code=1)
    assert "cannot be exported" in told["fault"]
    assert bridge("list")["total"] == 2


def _plain(properties: bytes) -> bytes:
    """Properties as they are whether or not a broker of 3.10 wrote them anew to count a delivery."""
    from bridge.core import described

    return described.stable(described.restored(bytes(12) + properties))


# -- its limits
# --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("world", ["3.10->3.10"], indirect=True)
def test_large_messages_do_not_fill_the_memory(bridge: Operator, side: Side) -> None:
    bodies = [bytes([number]) * 16 * 1024**2 for number in range(16)]
    put(side, *(task(body) for body in bodies))
    assert peak(bridge, "list") < 150
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        assert peak(bridge, "redrive", "--all") < 400
        assert (new.depth("q1"), new.depth(QUARANTINE)) == (16, 0)


def peak(bridge: Operator, *arguments: str) -> float:
    """Run a command that must succeed in a process of its own, and return how much memory it had at most, in MiB."""
    run = "import sys; from bridge import cli; code = cli.main(sys.argv[1:]); print(open('/proc/self/status').read())"
    command = [sys.executable, "-c", f"{run}; sys.exit(code)", "-c", str(bridge.file), "quarantine", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def test_killed_between_publish_and_ack_nothing_is_lost(bridge: Operator, side: Side) -> None:
    numbers = range(600)
    put(side, *(task(b"%d" % number) for number in numbers))
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        process = subprocess.Popen(bridge.command("redrive", "--all"))
        assert until(lambda: new.depth("q1") > 20, SOON)
        process.send_signal(signal.SIGKILL)
        process.wait()
        # The connection of the killed one is noticed at once: its socket is closed.
        assert until(lambda: new.depth("q1") + new.depth(QUARANTINE) >= len(numbers), SOON)
        left = new.depth(QUARANTINE)
        assert bridge("redrive", "--all")["done"] == left
        assert new.depth(QUARANTINE) == 0
        new.consume("q1")
        arrived = Counter(int(taken(new).body) for _ in range(new.depth("q1")))
        while (message := new.receive(time.monotonic() + 0.5)) is not None:
            arrived[int(message.body)] += 1
        assert arrived.keys() == set(numbers)
        assert arrived.total() - len(arrived) <= 200


@pytest.mark.long
def test_two_at_once_share_what_is_there(bridge: Operator, side: Side) -> None:
    numbers = range(300)
    put(side, *(task(b"%d" % number) for number in numbers))
    with RawAmqp(side.amqp) as new:
        new.declare("q1", **QUORUM)
        both = [
            subprocess.Popen(bridge.command("redrive", "--all", "--json"), stdout=subprocess.PIPE) for _ in range(2)
        ]
        told = [json.loads(process.communicate(timeout=60)[0]) for process in both]
        assert sum(each["done"] for each in told) == new.depth("q1") >= len(numbers) - new.depth(QUARANTINE)
        bridge("redrive", "--all")
        assert (new.depth("q1"), new.depth(QUARANTINE)) == (len(numbers), 0)


def test_usage(bridge: Operator) -> None:
    assert "name messages by ID" in bridge.said("redrive", code=2)[1]
    assert "exclude each other" in bridge.said("redrive", "--all", "abc", code=2)[1]
    assert 'no message has the id "abc"' in bridge.said("redrive", "abc", code=1)[1]
