"""`bridge replay` on real brokers: what is wanted is sent as the daemon sends it, counted, and nothing else."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from pika import spec

from bridge import cli, replay
from bridge.backup import STREAM
from bridge.core import ladder
from bridge.core import properties as p
from bridge.core.copies import EXCHANGE
from bridge.errors import Unreachable
from bridge.reading import Delivery, Reader
from tests.functional.cases import Message, iso, old_json, old_task, shortstr, task
from tests.functional.passage import LOST, QUORUM
from tests.functional.test_backup import side_of, stream_at
from tests.support.brokers import Vhosts
from tests.support.copies import copy
from tests.support.daemon import takeover
from tests.support.raw_amqp import Arrived, Raw, RawAmqp

pytestmark = pytest.mark.functional

HOUR = 3600.0


@dataclass
class Scene:
    """A stream with copies in it, and the command.

    Attributes:
        sent: name to source queue, time of the copy, and the message.
    """

    file: Path
    sent: dict[str, tuple[str, float, Raw]]
    capsys: pytest.CaptureFixture[str]

    def run(self, *options: str, expect: int = 0) -> Any:
        """Run `bridge replay --json`."""
        self.capsys.readouterr()
        code = cli.main(["-c", str(self.file), "replay", "--json", *options])
        told = self.capsys.readouterr()
        assert code == expect, told
        return json.loads(told.out)


def identified(name: str, kind: str, **headers: Any) -> Raw:
    return task(name.encode(), id=f"id-{name}", task=kind, **headers).raw()


@pytest.fixture(params=["source", "target"])
def side(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def scene(vhosts: Vhosts, side: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Scene:
    now = time.time()
    soon, far = now + 90_000.5, now - 60
    sent: dict[str, tuple[str, float, Raw]] = {
        "mail-1": ("mail", now - 3 * HOUR, identified("mail-1", "shop.mail")),
        "mail-2": ("mail", now - 1 * HOUR, identified("mail-2", "shop.mail", retries=1)),
        "mail-3": ("mail", now - 1 * HOUR, identified("mail-3", "shop.news")),
        "old": ("old", now - 2 * HOUR, old_task(old_json(None, task="shop.mail"), "application/json").raw()),
        "later": ("eta", now - 0.5 * HOUR, identified("later", "shop.eta", eta=iso(soon))),
        "past": ("eta", now - 0.5 * HOUR, identified("past", "shop.eta", eta=iso(far))),
        "foreign": ("a.b", now - 0.1 * HOUR, Message({p.MESSAGE_ID: shortstr("m")}, None, b"foreign").raw()),
        "large": ("mail", now - 0.2 * HOUR, task(os.urandom(300_000), id="id-large", task="shop.large").raw()),
    }
    config = takeover(vhosts, tmp_path, backup={"on": side}, queues={"settings": [{"match": "old", "target": "new"}]})
    file = tmp_path / "bridge.yaml"
    file.write_text(yaml.safe_dump(config))
    stream_at(vhosts, side, tmp_path).ensure()
    with RawAmqp(side_of(vhosts, side).amqp) as amqp:
        for queue, at, message in sent.values():
            amqp.publish(EXCHANGE, queue, copy(queue, message, at))
        amqp.publish(EXCHANGE, "mail", Raw(b"\x00\x00", b"no envelope"))
    return Scene(file, sent, capsys)


def minute(at: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%MZ", time.gmtime(at))


def collect(amqp: RawAmqp, count: int) -> dict[bytes, Arrived]:
    """What arrives, by its body: so many, and nothing more."""
    deadline = time.monotonic() + LOST
    found = [one for _ in range(count) if (one := amqp.receive(deadline)) is not None]
    assert amqp.receive(time.monotonic() + 0.2) is None
    assert len(found) == count
    return {one.body: one for one in found}


FILTERS: dict[str, tuple[list[str], set[str]]] = {
    "queue": (["--queue", "mail"], {"mail-1", "mail-2", "mail-3", "large"}),
    "queues": (["--queue", "old", "--queue", "a.*"], {"old", "foreign"}),
    "task": (["--task", "shop.mail"], {"mail-1", "mail-2", "old"}),
    "task-pattern": (["--task", "shop.[ln]*"], {"mail-3", "large"}),
    "id": (["--id", "id-mail-2", "--id", "id-later", "--id", "m"], {"mail-2", "later", "foreign"}),
    "since": (["--since", "40m ago"], {"later", "past", "foreign", "large"}),
    "until": (["--until", "90m"], {"mail-1", "old"}),
    "window": (["--since", "150m", "--until", "50m"], {"old", "mail-2", "mail-3"}),
    "several": (["--queue", "mail", "--task", "shop.mail", "--since", "2h"], {"mail-2"}),
    "limit": (["--queue", "mail", "--limit", "2"], {"mail-1", "mail-2"}),
    "all": (["--all"], {"mail-1", "mail-2", "mail-3", "old", "later", "past", "foreign", "large"}),
    "none": (["--queue", "nowhere"], set()),
}


def test_each_filter_and_its_dry_run(vhosts: Vhosts, scene: Scene):
    """What is sent is what was counted, and it arrives as the daemon sends it."""
    with RawAmqp(vhosts.new.amqp) as new:
        for queue in ("mail", "new", "eta", "a.b"):
            new.declare(queue, **QUORUM)
            new.consume(queue)
        new.declare("straight", **QUORUM)
        new.consume("straight")
        tapped = False
        for name, (options, wanted) in FILTERS.items():
            dry = scene.run(*options, "--dry-run")
            real = scene.run(*options, "--yes")
            if not tapped and "later" in wanted:
                # The first message made the ladder; what goes into it is seen from now on.
                new.declare("tap")
                new.bind("tap", ladder.entry_name((90_000).bit_length() - 1), "")
                new.consume("tap")
                tapped = True
                real = scene.run(*options, "--yes")
                came = collect(new, 2 * len(wanted) - 1)
            else:
                came = collect(new, len(wanted))
            assert (dry["matched"], dry["published"], dry["dry_run"]) == (len(wanted), 0, True), name
            assert (real["matched"], real["published"], real["failed"]) == (len(wanted), len(wanted), {}), name
            assert dry["groups"] == real["groups"], name
            if "--since" not in options:
                assert dry["read"] == real["read"] == len(scene.sent) + 1 or "--limit" in options, name
                assert dry["foreign"] == ("--limit" not in options), name
            groups = {(group["queue"], group["minute"]) for group in real["groups"]}
            assert groups == {(scene.sent[one][0], minute(scene.sent[one][1])) for one in wanted}, name
            for one in wanted:
                queue, _, raw = scene.sent[one]
                arrived = came[raw.body]
                expected = {"old": "new"}.get(queue, "tap" if one == "later" else queue)
                assert arrived.queue == expected
                if one == "later":
                    assert arrived.routing_key.endswith(ladder.exit_word("eta"))
                # 4.3 itself changes the order of headers of some.
                new.publish("", "straight", raw)
                assert collect(new, 1)[raw.body].properties == arrived.properties, one


def test_back_to_the_source_it_is_as_it_was(vhosts: Vhosts, scene: Scene):
    with RawAmqp(vhosts.old.amqp) as old:
        for queue in ("mail", "old", "eta", "a.b"):
            old.declare(queue)
            old.consume(queue)
        told = scene.run("--all", "--to", "source", "--yes")
        assert (told["published"], told["to"]) == (len(scene.sent), "source")
        came = collect(old, len(scene.sent))
    for queue, _, raw in scene.sent.values():
        assert (came[raw.body].queue, came[raw.body].properties) == (queue, raw.properties)


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
@pytest.mark.parametrize("side", ["source"], indirect=True)
def test_what_cannot_be_sent_is_counted_with_its_reason(vhosts: Vhosts, scene: Scene):
    with RawAmqp(vhosts.new.amqp) as new:
        for queue in ("mail", "eta"):
            new.declare(queue, **QUORUM)
        told = scene.run("--all", "--yes", expect=1)
        assert told["published"] == 6
        assert told["failed"] == {
            'target: there is no queue "new"': 1,
            'target: there is no queue "a.b"': 1,
        }
        new.call(spec.Queue.Delete(queue="mail"))
    scene.capsys.readouterr()
    assert cli.main(["-c", str(scene.file), "replay", "--queue", "mail", "--yes"]) == 1
    assert '4 x target: there is no queue "mail"' in scene.capsys.readouterr().out


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_a_stream_that_is_not_there_or_takes_no_mark(vhosts: Vhosts, scene: Scene, side: str):
    with RawAmqp(side_of(vhosts, side).amqp) as amqp:
        amqp.unbind(STREAM, EXCHANGE, "#")
        assert cli.main(["-c", str(scene.file), "replay", "--all", "--dry-run"]) == 1
        said = scene.capsys.readouterr().err
        assert 'the end of the stream cannot be marked: exchange "bridge.backup" has no stream (312 NO_ROUTE)' in said
        amqp.call(spec.Queue.Delete(queue=STREAM))
        assert cli.main(["-c", str(scene.file), "replay", "--all", "--dry-run"]) == 1
        assert 'backup: queue "bridge.backup" cannot be read: NOT_FOUND' in scene.capsys.readouterr().err


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
@pytest.mark.parametrize("side", ["source"], indirect=True)
def test_many_are_read_to_the_end_and_no_further(vhosts: Vhosts, scene: Scene):
    """What is published while it reads is not waited for; windows and acks hold for more than a few."""
    raws = [copy("many", identified(str(number), "shop.many")) for number in range(5000)]
    with RawAmqp(vhosts.old.amqp) as old, RawAmqp(vhosts.new.amqp) as new:
        new.declare("many", **QUORUM)
        old.publish_all(EXCHANGE, "many", raws)
        told = scene.run("--queue", "many", "--yes")
        assert (told["matched"], told["published"], told["failed"]) == (5000, 5000, {})
        assert new.depth("many") == 5000
        # The marks of the reads before are nothing that was read.
        assert scene.run("--all", "--dry-run")["read"] == 5000 + len(scene.sent) + 1
        assert scene.run("--since", "2h", "--queue", "many", "--dry-run")["matched"] == 5000
        # A time after everything that was ever published.
        assert scene.run("--since", "2100-01-01", "--dry-run")["matched"] == 0


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
def test_a_lost_connection_is_read_on_behind(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    """Each copy once: also those that were on their way."""
    cut: list[int] = []
    take = Reader.take

    def take_and_cut(reader: Reader, seconds: float) -> Delivery | None:
        if len(cut) < 4:
            cut.append(len(cut))
            if cut[-1] in (1, 3):
                reader._connection.abort("the test cuts it")
        return take(reader, seconds)

    monkeypatch.setattr(Reader, "take", take_and_cut)
    monkeypatch.setattr(replay, "READ_ON", 0.01)
    told = scene.run("--all", "--dry-run")
    assert (told["read"], told["matched"], told["fault"]) == (len(scene.sent) + 1, len(scene.sent), None)
    assert len(cut) == 4

    def take_never(_reader: Reader, _seconds: float) -> Delivery | None:
        raise Unreachable("backup: connection lost: the test cuts it again")

    monkeypatch.setattr(Reader, "take", take_never)
    scene.capsys.readouterr()
    assert cli.main(["-c", str(scene.file), "replay", "--all", "--dry-run"]) == 3
    assert "the test cuts it again" in scene.capsys.readouterr().err


@pytest.mark.parametrize("world", ["3.10->4.3"], indirect=True)
@pytest.mark.parametrize("side", ["source"], indirect=True)
@pytest.mark.parametrize(("answer", "code", "arrive"), [("y", 0, 4), ("n", 1, 0)])
def test_on_a_terminal_it_counts_and_asks(vhosts: Vhosts, scene: Scene, answer: str, code: int, arrive: int):
    with RawAmqp(vhosts.new.amqp) as new:
        new.declare("mail", **QUORUM)
        told, ended = on_a_terminal(scene.file, answer, "--queue", "mail")
        assert "Send these 4 tasks again? Those that ran already will run twice [y/N]:" in told
        assert "shop.news" in told
        assert ("published  4 to the target" in told) is (answer == "y")
        assert ended == code, told
        assert new.depth("mail") == arrive


def on_a_terminal(file: Path, answer: str, *options: str) -> tuple[str, int]:
    """Run the command on a terminal of its own, answer its question, and return what was shown and its exit code."""
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "bridge", "-c", str(file), "replay", *options]
    environment = {**os.environ, "COLUMNS": "200", "TERM": "dumb"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown = ""

    def read_until(done: Callable[[], bool]) -> None:
        nonlocal shown
        until = time.monotonic() + 60
        while not done():
            assert time.monotonic() < until, shown
            if select.select([ours], [], [], 0.2)[0]:
                try:
                    shown += os.read(ours, 65536).decode(errors="replace")
                except OSError:
                    return

    try:
        read_until(lambda: "[y/N]" in shown)
        os.write(ours, f"{answer}\n".encode())
        read_until(lambda: False if process.poll() is None else not select.select([ours], [], [], 0)[0])
        return " ".join(shown.split()).replace("published 4", "published  4"), process.wait(10)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
